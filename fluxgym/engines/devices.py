"""GPUs and the CPU of this machine: their locks, and the machine line of the page."""

import json
import os
from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import IO

import psutil

from fluxgym.runs.files import local_locks, try_lock
from fluxgym.runs.launch_spec import DeviceRequest

GPU_SIGNS = (Path("/proc/driver/nvidia/gpus"), Path("/dev/dxg"), Path("/dev/kfd"))
VISIBLE = "CUDA_VISIBLE_DEVICES"
GIB = 1 << 30
NVIDIA = Path("/proc/driver/nvidia/gpus")


@dataclass(frozen=True)
class DeviceLease:
    """The locks on devices that were taken, and the environment by which a trainer sees just the one that was chosen for it."""

    locks: list[IO[str]]
    env: dict[str, str] = field(default_factory=dict)


def devices_of(gpus: str | None) -> list[str]:
    """Return the devices of the GPUs that a person named ("0,1"), all of which are needed; else those of which any one will do.

    These are the GPUs that can be seen; without any the CPU is the only one.
    """
    visible = os.environ.get(VISIBLE)
    if not any(sign.exists() for sign in GPU_SIGNS) or (not gpus and visible in ("", "-1")):
        return ["cpu"]
    if gpus:
        return sorted({f"gpu-{name.strip()}" for name in gpus.split(",")})
    names = visible.split(",") if visible else [str(number) for number in range(num_gpus() or 1)]
    return [f"gpu-{name.strip()}" for name in names]


def device_request(gpus: str | None) -> DeviceRequest:
    """Return the request for the GPUs that a person named ("0,1"), all of them, else for any free device of this machine."""
    return DeviceRequest.from_names(devices_of(gpus), any_free=not gpus)


def num_gpus() -> int:
    """Return how many NVIDIA GPUs the driver tells of."""
    return len(list(GPU_SIGNS[0].glob("*")))


def are_there(gpus: str) -> bool:
    """Return True if the named GPUs are in this machine, as far as the driver tells."""
    numbers = [int(name) for name in gpus.split(",") if name.strip().isdecimal()]
    return num_gpus() == 0 or max(numbers, default=0) < num_gpus()


def title(device: str) -> str:
    """Return a device's name in a sentence."""
    return "the CPU" if device == "cpu" else f"GPU {device.removeprefix('gpu-')}"


def take(devices: Sequence[str], holder: str) -> list[IO[str]] | None:
    """Return the locks on all devices, None when one of them is taken; `holder` is told to those who wait."""
    held: list[IO[str]] = []
    for device in sorted(devices):
        file = try_lock(_path(device))
        if file is None:
            release(held)
            return None
        held.append(file)
    for file in held:
        file.truncate(0)
        file.write(json.dumps({"holder": holder}))
        file.flush()
    return held


def acquire_devices(request: DeviceRequest, holder: str, *, reserved_by_earlier: Set[str] = frozenset()) -> DeviceLease | None:
    """Return the locks on the requested devices, None while they are taken or reserved by runs that wait before this one.

    A request without devices is granted at once.
    """
    names = request.names
    if not request.any_free or not names:
        locks = None if reserved_by_earlier & set(names) else take(names, holder)
        return None if locks is None else DeviceLease(locks)
    for name in names:
        if name not in reserved_by_earlier and (locks := take([name], holder)) is not None:
            return DeviceLease(locks, {VISIBLE: name.removeprefix("gpu-")} if len(names) > 1 else {})
    return None


def release(held: list[IO[str]]) -> None:
    """Give devices back."""
    for file in held:
        file.close()


def current_user(device: str) -> str:
    """Return who took a device last, "" when nobody has said so."""
    try:
        return str(json.loads(_path(device).read_text(encoding="utf-8"))["holder"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _path(device: str) -> Path:
    return local_locks() / f"device-{device}.lock"


def describe(folder: Path) -> str:
    """Return the GPU or CPU, the memory in use and the free space where the runs are kept."""
    memory = psutil.virtual_memory()
    parts = [_processor(), f"RAM {(memory.total - memory.available) / GIB:.0f}/{memory.total / GIB:.0f} GB"]
    free = _free_bytes(folder)
    return " · ".join(parts if free is None else [*parts, f"disk {free / GIB:.0f} GB free"])


@cache
def _processor() -> str:
    """Return the name of the first NVIDIA GPU as its driver tells it, else the number of CPU cores."""
    for information in sorted(NVIDIA.glob("*/information")):
        for line in information.read_text(errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "Model":
                return f"GPU {value.strip().removeprefix('NVIDIA ')}"
    return f"CPU, {len(os.sched_getaffinity(0))} cores"


def _free_bytes(folder: Path) -> int | None:
    """Return the free space of the disk that a folder is on, or would be on; None when nobody can tell."""
    for place in (folder, *folder.parents):
        try:
            return psutil.disk_usage(str(place)).free
        except OSError:
            continue
    return None

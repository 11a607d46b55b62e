"""The devices that trainings take turns on: each GPU is one, the CPU is one. Who holds a device's lock may train on it.

The lock is the kernel's, on a file of this machine, and the trainer inherits it: as long as the supervisor or anything of its trainer
lives the device is taken, whoever of them was killed.
"""

import json
import os
from pathlib import Path
from typing import IO

from fluxgym.run.lock import local_locks, try_lock

GPU_SIGNS = (Path("/proc/driver/nvidia/gpus"), Path("/dev/dxg"), Path("/dev/kfd"))


def devices_of(gpus: str | None) -> list[str]:
    """Return the devices that a run takes: the GPUs it names, else the first that is visible, else the CPU."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if not any(sign.exists() for sign in GPU_SIGNS) or (not gpus and visible in ("", "-1")):
        return ["cpu"]
    named = gpus.split(",") if gpus else (visible or "0").split(",")[:1]
    return sorted({f"gpu-{name.strip()}" for name in named})


def num_gpus() -> int:
    """Return how many NVIDIA GPUs the driver tells of."""
    return len(list(GPU_SIGNS[0].glob("*")))


def first_free_gpu() -> str | None:
    """Return the number of the first GPU that no training of ours holds, else of the first; None where there is no choice."""
    if num_gpus() < 2 or os.environ.get("CUDA_VISIBLE_DEVICES") is not None:
        return None
    for number in range(num_gpus()):
        if (held := take([f"gpu-{number}"], "")) is not None:
            release(held)
            return str(number)
    return "0"


def title(device: str) -> str:
    """Return a device's name in a sentence."""
    return "the CPU" if device == "cpu" else f"GPU {device.removeprefix('gpu-')}"


def take(devices: list[str], holder: str) -> list[IO[str]] | None:
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


def release(held: list[IO[str]]) -> None:
    """Give devices back."""
    for file in held:
        file.close()


def holder_of(device: str) -> str:
    """Return who took a device last, "" when nobody has said so."""
    try:
        return str(json.loads(_path(device).read_text(encoding="utf-8"))["holder"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _path(device: str) -> Path:
    return local_locks() / f"device-{device}.lock"

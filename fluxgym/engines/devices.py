"""GPUs and the CPU of this machine: their names and locks."""

import json
import os
from collections.abc import Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

from fluxgym.errors import FluxGymError, StorageError
from fluxgym.runs.atomic_files import read_json
from fluxgym.runs.gpus import GPU_NUMBERS, GPU_SIGNS, VISIBLE
from fluxgym.runs.launch_spec import DeviceRequest, LaunchSpec
from fluxgym.runs.locks import is_open_file, local_locks, try_lock
from fluxgym.runs.storage_errors import storage_error

MAX_USER_BYTES = 1 << 16


@dataclass(frozen=True, kw_only=True)
class LockedDevices:
    """The locks on acquired devices, and the environment by which a trainer sees only the device that was chosen for it.

    names are the devices of the locks. relocked are the locks on files that were created again because a program removed the first ones.
    """

    locks: tuple[IO[str], ...]
    names: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    relocked: list[IO[str]] = field(default_factory=list)

    @property
    def file_descriptors(self) -> tuple[int, ...]:
        """The open lock files, which the trainer inherits."""
        return tuple(file.fileno() for file in (*self.locks, *self.relocked))

    def renew(self) -> None:
        """Keep programs that clean temporary folders from removing the lock files, and lock a removed one again. Call it regularly."""
        for name, file in zip(self.names, self.locks, strict=True):
            path = _path(name)
            with suppress(OSError, FluxGymError):  # the next time
                if any(is_open_file(known.fileno(), path) for known in (file, *self.relocked)):
                    os.utime(path)
                elif (again := try_lock(path)) is not None:
                    self.relocked.append(again)
                    os.write(again.fileno(), os.pread(file.fileno(), MAX_USER_BYTES, 0))

    def release(self) -> None:
        """Unlock the devices."""
        for file in (*self.locks, *self.relocked):
            file.close()


def devices_of(gpus: str | None) -> list[str]:
    """Return the names of the chosen GPUs ("0,1"), else of all visible GPUs, else of the CPU."""
    visible = os.environ.get(VISIBLE)
    if not any(sign.exists() for sign in GPU_SIGNS) or (not gpus and visible in ("", "-1")):
        return ["cpu"]
    if gpus:
        return sorted({f"gpu-{name.strip()}" for name in gpus.split(",")})
    names = visible.split(",") if visible else [str(number) for number in range(num_gpus() or 1)]
    return [f"gpu-{name.strip()}" for name in names]


def device_request(gpus: str | None) -> DeviceRequest:
    """Return the request for all chosen GPUs ("0,1"), else for any free device of this machine."""
    return DeviceRequest.from_names(devices_of(gpus), any_free=not gpus)


def num_gpus() -> int:
    """Return the number of NVIDIA GPUs that the driver lists."""
    return len(list(GPU_SIGNS[0].glob("*")))


def are_there(gpus: str) -> bool:
    """Return True if the chosen GPUs are in this machine, or if the driver lists none."""
    numbers = [int(name) for name in gpus.split(",") if name.strip().isdecimal()]
    return num_gpus() == 0 or max(numbers, default=0) < num_gpus()


class LocalDevices:
    """The devices of this machine, as an engine offers them."""

    def names(self) -> tuple[str, ...]:
        """Return this machine's devices that runs may use."""
        return tuple(devices_of(None))

    def num_gpus(self) -> int:
        """Return the number of NVIDIA GPUs of this machine."""
        return num_gpus()

    def assign(self, spec: LaunchSpec, gpus: str | None) -> LaunchSpec:
        """Return a launch spec that requests the GPUs that a user named ("0,1"), else any free device of those that this process sees."""
        visible = gpus or os.environ.get(VISIBLE)
        return replace(spec, env={} if visible is None else {VISIBLE: visible}, devices=device_request(gpus))

    def chosen_gpus(self, spec: LaunchSpec) -> str | None:
        """Return the GPUs that a user named for a launch, None if there was no choice or this machine does not have them."""
        gpus = None if spec.devices.any_free else spec.env.get(VISIBLE)
        return gpus if gpus and GPU_NUMBERS.fullmatch(gpus) and are_there(gpus) else None


def title(device: str) -> str:
    """Return a device's name for messages."""
    return "the CPU" if device == "cpu" else f"GPU {device.removeprefix('gpu-')}"


def acquire_devices(request: DeviceRequest, holder: Path, *, reserved_by_earlier: Set[str] = frozenset()) -> LockedDevices | None:
    """Return the locks on the requested devices, None while they are in use or reserved by runs ahead in the queue.

    A request without devices is granted at once. holder is the run's folder; the runs that wait show its name.
    """
    devices = _lock_requested(request, reserved_by_earlier)
    if devices is not None:
        _write_user(devices, holder)
    return devices


def are_free(request: DeviceRequest, *, reserved_by_earlier: Set[str] = frozenset()) -> bool:
    """Return True if `acquire_devices` would return locks now. Writes nothing into the lock files."""
    devices = _lock_requested(request, reserved_by_earlier)
    if devices is not None:
        devices.release()
    return devices is not None


def _lock_requested(request: DeviceRequest, reserved: Set[str]) -> LockedDevices | None:
    names = request.names
    if not request.any_free or not names:
        locks = None if reserved & set(names) else _lock_all(names)
        return None if locks is None else LockedDevices(locks=locks, names=tuple(sorted(names)))
    for name in names:
        if name not in reserved and (locks := _lock_all([name])) is not None:
            return LockedDevices(locks=locks, names=(name,), env={VISIBLE: name.removeprefix("gpu-")} if name.startswith("gpu-") else {})
    return None


def _lock_all(devices: Sequence[str]) -> tuple[IO[str], ...] | None:
    """Return the locks on all devices, None if one of them is in use."""
    locks: list[IO[str]] = []
    for device in sorted(devices):
        file = try_lock(_path(device))
        if file is None:
            for taken in locks:
                taken.close()
            return None
        locks.append(file)
    return tuple(locks)


def _write_user(devices: LockedDevices, holder: Path) -> None:
    """Write into the lock files who uses the devices.

    Raises:
        StorageError: If that cannot be written; the devices are released.
    """
    text = json.dumps({"holder": holder.name, "folder": str(holder.parent.absolute())}).encode()
    for file in devices.locks:
        try:
            os.truncate(file.fileno(), 0)
            os.write(file.fileno(), text)
        except OSError as error:
            devices.release()
            raise storage_error(error, local_locks()) from error


@dataclass(frozen=True, kw_only=True)
class DeviceUser:
    """The run that holds the lock of a device: its name, and the outputs folder that it is in, "" if an earlier version wrote it."""

    slug: str
    outputs: str

    def is_run(self, folder: Path) -> bool:
        """Return True if it is the run in this folder."""
        return self.slug == folder.name and not self.is_elsewhere(folder)

    def is_elsewhere(self, folder: Path) -> bool:
        """Return True if it is in another outputs folder than the run in this folder."""
        return bool(self.outputs) and self.outputs != str(folder.parent.absolute())


def current_user(device: str) -> DeviceUser | None:
    """Return the run that holds the lock of a device, None if no run does or its name is not known."""
    path = _path(device)
    if not _is_locked(path):
        return None  # the name in it is that of the last run
    try:
        known = read_json(path)
        return DeviceUser(slug=str(known["holder"]), outputs=str(known.get("folder", "")))
    except (KeyError, TypeError, AttributeError):
        return None


def _is_locked(path: Path) -> bool:
    try:
        lock = try_lock(path) if path.exists() else None
    except (StorageError, OSError):
        return False
    if lock is None:
        return path.exists()
    lock.close()
    return False


def _path(device: str) -> Path:
    return local_locks() / f"device-{device}.lock"

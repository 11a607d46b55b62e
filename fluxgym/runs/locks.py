"""Locks between processes: flock on a file, which the kernel releases when its holder ends."""

import errno
import fcntl
import functools
import hashlib
import logging
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from fluxgym.contract.files import PRIVATE_FOLDER
from fluxgym.errors import AlreadyRunning, StorageError
from fluxgym.runs.storage_errors import storage_error

LOCK_POLL_S = 0.05
log = logging.getLogger(__name__)


class NoLocks(OSError):
    """A volume refuses flock."""


def local_locks() -> Path:
    """Return the folder for locks of this machine and user: FLUXGYM_LOCKS, else one in the system's temporary folder."""
    return Path(os.environ.get("FLUXGYM_LOCKS") or Path(tempfile.gettempdir()) / f"fluxgym-{os.getuid()}")


def try_lock(path: Path) -> IO[str] | None:
    """Return a file, created if necessary, whose lock is held until it is closed; None if another process holds the lock.

    On a volume without locks, a file in local_locks() is locked instead, which covers the processes of this machine; see `keeps_hosts_apart`.
    """
    try:
        return _locked(path)
    except NoLocks as error:
        first = error
    except OSError as error:
        raise storage_error(error, path) from error
    if path.parent != local_locks():
        _warn_once(path.parent)
    local = local_locks() / hashlib.sha256(os.fsencode(path.absolute())).hexdigest()[:32]
    try:
        return _locked(local)
    except NoLocks as error:
        raise _without_locks(path, first, error) from error
    except OSError as error:
        raise storage_error(error, local) from error


@contextmanager
def file_lock(path: Path, *, timeout_s: float, busy: str) -> Iterator[None]:
    """Hold the lock on a file.

    Raises:
        AlreadyRunning: If another process holds it for timeout_s; `busy` is the message.
    """
    deadline = time.monotonic() + timeout_s
    while (file := try_lock(path)) is None:
        if time.monotonic() >= deadline:
            raise AlreadyRunning(busy)
        time.sleep(LOCK_POLL_S)
    with file:
        yield


@contextmanager
def run_lock(path: Path, *, timeout_s: float = 10.0) -> Iterator[None]:
    """Hold a run's lock (`RunPaths.lock`) while its ui_state.json is changed."""
    with file_lock(
        path, timeout_s=timeout_s, busy=f"Another process is changing the run {path.parent.parent.name}; try again in a moment."
    ):
        yield


def is_open_file(handle: int, path: Path) -> bool:
    """Return True if a path still is the open file: a program that cleans temporary folders may have removed it, and with it its lock."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except OSError:
        return False


def keeps_hosts_apart(folder: Path) -> bool:
    """Return True if the volume of a folder has locks, or if that cannot be tried there. Without them only one machine may use the folder."""
    try:
        lock = _locked(folder / ".lock-test")
    except NoLocks:
        return False
    except OSError:
        return True
    if lock is not None:
        lock.close()
    return True


def without_locks(folder: Path) -> str:
    """Return the message about a volume without locks, where the locks of this machine are used."""
    return f"The volume of {folder} has no file locks. Use it from one machine only: two machines are not kept from writing the same files."


@functools.cache
def _warn_once(folder: Path) -> None:
    log.warning("%s", without_locks(folder))


def _without_locks(path: Path, error: OSError, local_error: OSError) -> StorageError:
    if path.parent == local_locks():
        which, why = f"The volume of {path.parent} has", error.strerror
    else:
        which, why = f"Neither the volume of {path} nor that of {local_locks()} has", local_error.strerror
    return StorageError(
        f"{which} file locks ({why}), so two processes could write the same files. Set FLUXGYM_LOCKS to a folder on a local disk of this "
        "machine, and start again."
    )


def _locked(path: Path) -> IO[str] | None:
    """Return the locked file, None if another process holds the lock.

    Raises:
        NoLocks: If the volume has no locks.
    """
    if path.parent == local_locks():
        create_private_folder(path.parent)
    path.parent.mkdir(parents=path.parent.name != PRIVATE_FOLDER, exist_ok=True)  # no lock of a run creates the run's folder
    while (file := _locked_now(path)) is not None and not is_open_file(file.fileno(), path):  # it was removed meanwhile
        file.close()
    return file


def _locked_now(path: Path) -> IO[str] | None:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    file = os.fdopen(handle, "a+", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    except OSError as error:
        file.close()
        if error.errno in (errno.EIO, errno.ESTALE):
            raise  # a network drive that fails now may have locks
        raise NoLocks(error.errno, error.strerror, str(path)) from None
    return file


def create_private_folder(folder: Path) -> None:
    """Create a folder that only this user can write, and check its owner: another user may have created it in a shared temporary folder.

    Raises:
        PermissionError: If it belongs to another user.
        OSError: If it cannot be created.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise PermissionError(errno.EACCES, "it belongs to another user; set FLUXGYM_LOCKS to a folder of your own", str(folder))

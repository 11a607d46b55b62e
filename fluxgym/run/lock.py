"""One writer at a time: an advisory lock on a file, which the kernel drops when its holders die."""

import errno
import fcntl
import hashlib
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from fluxgym.errors import AlreadyRunning
from fluxgym.run.atomic import storage_error

POLL_S = 0.05
UNLOCKABLE = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL)


def local_locks() -> Path:
    """Return the folder for locks that belong to this machine and user: `FLUXGYM_LOCKS`, else one in the system's temporary folder."""
    return Path(os.environ.get("FLUXGYM_LOCKS") or Path(tempfile.gettempdir()) / f"fluxgym-{os.getuid()}")


def try_lock(path: Path) -> IO[str] | None:
    """Return `path` (created if need be) opened with its lock held until it is closed, None when somebody else holds it.

    On a file system without locks a file in `local_locks` stands for it, which keeps this machine's processes apart.
    """
    try:
        return _locked(path)
    except OSError as error:
        if error.errno not in UNLOCKABLE:
            raise storage_error(error, path) from error
    try:
        return _locked(local_locks() / hashlib.sha256(os.fsencode(path.absolute())).hexdigest()[:32])
    except OSError as error:
        raise storage_error(error, path) from error


def _locked(path: Path) -> IO[str] | None:
    if path.parent == local_locks():
        _own_folder(path.parent)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    file = os.fdopen(handle, "a+", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    except OSError:
        file.close()
        raise
    return file


def _own_folder(folder: Path) -> None:
    """Make a folder for this user alone; in a temporary folder that all may write, somebody else could have laid a trap at its name."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise PermissionError(errno.EACCES, "it belongs to another user; set FLUXGYM_LOCKS to a folder of your own", str(folder))


@contextmanager
def file_lock(path: Path, *, timeout_s: float, busy: str) -> Iterator[None]:
    """Hold the lock on `path`; raises AlreadyRunning with the sentence `busy` when it stays taken."""
    deadline = time.monotonic() + timeout_s
    while (file := try_lock(path)) is None:
        if time.monotonic() >= deadline:
            raise AlreadyRunning(busy)
        time.sleep(POLL_S)
    with file:
        yield


@contextmanager
def run_lock(path: Path, *, timeout_s: float = 10.0) -> Iterator[None]:
    """Hold a run's lock (`RunPaths.lock`) while its ui_state.json is changed."""
    with file_lock(
        path, timeout_s=timeout_s, busy=f"Another process is changing the run {path.parent.parent.name}; try again in a moment."
    ):
        yield

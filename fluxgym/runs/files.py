"""Files of a run: atomic writes, locks, reserved disk space, the end of a log, and free space."""

import errno
import fcntl
import hashlib
import json
import os
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, BinaryIO

from fluxgym.contract.codes import ReasonCode
from fluxgym.errors import AlreadyRunning, StorageError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
POLL_S = 0.05
UNLOCKABLE = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL)
RESERVED_BYTES = 4096
RESERVE_BYTES = 500 << 20


def write_text(path: Path, text: str) -> None:
    """Replace a file's text; readers see the old or the new one, never half. Raises StorageError when the disk refuses."""
    tmp_path = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tmp_path.open("x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        tmp_path.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        _remove(tmp_path)
        raise storage_error(error, path) from error
    except UnicodeEncodeError:
        _remove(tmp_path)
        raise StorageError(f"The text for {path.name} holds half a letter, which no file can hold; type it again.") from None


def write_json(path: Path, value: Any) -> None:
    """Replace a JSON file; raises StorageError when the disk refuses."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # half a letter, as JSON edited by hand may hold; escaped it stays what it was
        text = json.dumps(value, indent=2)
    write_text(path, text + "\n")


def _remove(tmp_path: Path) -> None:
    try:
        tmp_path.unlink(missing_ok=True)
    except OSError:  # the folder, or the name itself, is what was wrong
        return


def open_regular(path: Path, *, buffering: int = -1) -> BinaryIO:
    """Open a file to read; raises OSError for what is none: a pipe in its place would never answer."""
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb", buffering)
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return file
    file.close()
    raise OSError(errno.EINVAL, "it is no regular file", str(path))


def read_json(path: Path) -> Any:
    """Return what a JSON file of our own holds, or None when it is missing or damaged."""
    try:
        with open_regular(path) as file:
            return parse_json(file.read())
    except (OSError, ValueError, RecursionError):
        return None


def parse_json(data: bytes) -> Any:
    """Return what JSON holds, with "?" for half letters (lone surrogates), which nobody could show; raises ValueError or RecursionError."""
    value = json.loads(data)
    if b"\\u" not in data:
        return value
    return json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))


def sync_folder(folder: Path) -> None:
    """Make renames in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:  # some network file systems cannot
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


def reason_code_of(error: StorageError) -> ReasonCode:
    """Return the reason_code of what the disk refused: `disk_full`, or `storage` for all else."""
    return ReasonCode.DISK_FULL if isinstance(error.__cause__, OSError) and error.__cause__.errno in FULL else ReasonCode.STORAGE


def storage_error(error: OSError, path: Path) -> StorageError:
    """Say in one sentence why a file could not be written."""
    if error.errno in FULL:
        return StorageError(f"The disk is full: {path} could not be written. Free some space and try again.")
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return StorageError(
            f"{path} cannot be written ({error.strerror}); check the folder's permissions, or choose another with --outputs."
        )
    return StorageError(f"{path} could not be written: {error.strerror or error}.")


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


def reserve(path: Path) -> None:
    """Take the room, while there is some; a disk that has none now is told by others."""
    with suppress(StorageError):
        write_text(path, " " * RESERVED_BYTES)


def fill(path: Path, text: str) -> None:
    """Put a text of at most RESERVED_BYTES into the room; raises StorageError when none was taken."""
    try:
        with path.open("r+b") as file:
            file.write(text.encode().ljust(RESERVED_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise storage_error(error, path) from error


def tail(path: Path, num_lines: int = 200, max_bytes: int = 65_536) -> list[str]:
    """Return the last lines of a log, at most max_bytes of it; of a progress bar's overwritten states only the last counts."""
    try:
        with open_regular(path) as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - max_bytes))
            data = file.read()
    except OSError:
        return []
    if size > max_bytes:
        data = data.partition(b"\n")[2] or data
    lines = data.decode("utf-8", "replace").split("\n")
    shown = [line.rstrip("\r").rpartition("\r")[2] for line in lines]
    return (shown[:-1] if shown and not shown[-1] else shown)[-num_lines:]


def check_free_space(outputs: Path) -> int:
    """Return the free bytes on the disk of the outputs folder, which need not be there yet.

    Raises StorageError when it cannot be written or has less than RESERVE_BYTES free.
    """
    place = next(folder for folder in (outputs, *outputs.parents) if folder.is_dir())
    if not os.access(place, os.W_OK):
        raise StorageError(f"{outputs} cannot be written; check its permissions, or choose another folder with --outputs.")
    try:
        free = shutil.disk_usage(place).free
    except OSError as error:
        raise storage_error(error, outputs) from error
    if free < RESERVE_BYTES:
        raise StorageError(
            f"Only {free >> 20} MB are free on the disk of {outputs}; free at least {RESERVE_BYTES >> 20} MB, then start again."
        )
    return free

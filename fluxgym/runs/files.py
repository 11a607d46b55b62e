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
LOCK_POLL_S = 0.05
LOCKS_UNSUPPORTED = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL)
RESERVED_BYTES = 4096
MIN_FREE_BYTES = 500 << 20


def write_text(path: Path, text: str) -> None:
    """Replace a file's text atomically and durably; raises StorageError if it cannot be written."""
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
        remove_file(tmp_path)
        raise storage_error(error, path) from error
    except UnicodeEncodeError:
        remove_file(tmp_path)
        raise StorageError(
            f"The text for {path.name} contains half of a surrogate pair, which is not valid Unicode; type it again."
        ) from None


def write_json(path: Path, value: Any) -> None:
    """Replace a JSON file atomically and durably; raises StorageError if it cannot be written."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate, as edited JSON may contain; escaped it stays unchanged
        text = json.dumps(value, indent=2)
    write_text(path, text + "\n")


def is_regular(path: Path) -> bool:
    """Return True if a path is a regular file or a link to one; False too if its folder may not be read, where Path.is_file raises."""
    try:
        return path.is_file()
    except OSError:
        return False


def is_missing(path: Path) -> bool:
    """Return True if a path or its folder does not exist; False if that cannot be known, such as while a network drive fails."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def remove_file(path: Path) -> OSError | None:
    """Remove a file if it exists; returns the error if that fails."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        return error
    return None


def open_regular(path: Path, *, buffering: int = -1) -> BinaryIO:
    """Open a regular file to read; raises OSError for anything else, such as a pipe, which would block."""
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb", buffering)
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return file
    file.close()
    raise OSError(errno.EINVAL, "it is not a regular file", str(path))


def open_append(path: Path) -> BinaryIO:
    """Open a log to append to, created if necessary; raises OSError for a link, which would lead the output into another file."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666), "ab")


def read_json(path: Path) -> Any:
    """Return the content of a JSON file, None if it is missing or damaged."""
    try:
        with open_regular(path) as file:
            return parse_json(file.read())
    except (OSError, ValueError, RecursionError):
        return None


def parse_json(data: bytes) -> Any:
    """Return the value of JSON text, with "?" for lone surrogates, which cannot be encoded; raises ValueError or RecursionError."""
    value = json.loads(data)
    if b"\\u" not in data:
        return value
    return json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))


def sync_folder(folder: Path) -> None:
    """Make renames in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:  # some network file systems do not support it
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


def reason_code_of(error: StorageError) -> ReasonCode:
    """Return the reason code of a storage error: DISK_FULL, or STORAGE for every other cause."""
    return ReasonCode.DISK_FULL if isinstance(error.__cause__, OSError) and error.__cause__.errno in FULL else ReasonCode.STORAGE


def storage_error(error: OSError, path: Path) -> StorageError:
    """Return the error with one sentence about why a file could not be written."""
    if error.errno in FULL:
        return StorageError(f"The disk is full: {path} could not be written. Free some space and try again.")
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return StorageError(
            f"{path} cannot be written ({error.strerror}); check the folder's permissions, or choose another with --outputs."
        )
    return StorageError(f"{path} could not be written: {error.strerror or error}.")


def local_locks() -> Path:
    """Return the folder for locks of this machine and user: FLUXGYM_LOCKS, else one in the system's temporary folder."""
    return Path(os.environ.get("FLUXGYM_LOCKS") or Path(tempfile.gettempdir()) / f"fluxgym-{os.getuid()}")


def try_lock(path: Path) -> IO[str] | None:
    """Return a file, created if necessary, whose lock is held until it is closed; None if another process holds the lock.

    On a file system without locks, a file in local_locks() is locked instead, which covers the processes of this machine.
    """
    try:
        return _locked(path)
    except OSError as error:
        if error.errno not in LOCKS_UNSUPPORTED:
            raise storage_error(error, path) from error
    try:
        return _locked(local_locks() / hashlib.sha256(os.fsencode(path.absolute())).hexdigest()[:32])
    except OSError as error:
        raise storage_error(error, path) from error


def _locked(path: Path) -> IO[str] | None:
    if path.parent == local_locks():
        create_private_folder(path.parent)
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


def create_private_folder(folder: Path) -> None:
    """Create a folder that only this user can write, and check its owner: another user may have created it in a shared temporary folder.

    Raises PermissionError if it belongs to another user, and OSError if it cannot be created.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise PermissionError(errno.EACCES, "it belongs to another user; set FLUXGYM_LOCKS to a folder of your own", str(folder))


@contextmanager
def file_lock(path: Path, *, timeout_s: float, busy: str) -> Iterator[None]:
    """Hold the lock on a file; raises AlreadyRunning with the sentence busy if another process holds it for timeout_s."""
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


def reserve(path: Path) -> None:
    """Write a file of RESERVED_BYTES to reserve disk space. On a full disk it does nothing: later writes report that."""
    with suppress(StorageError):
        write_text(path, " " * RESERVED_BYTES)


def write_reserved(path: Path, text: str) -> None:
    """Write a text of at most RESERVED_BYTES into reserved space; raises StorageError if none was reserved."""
    try:
        with path.open("r+b") as file:
            file.write(text.encode().ljust(RESERVED_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise storage_error(error, path) from error


def tail(path: Path, num_lines: int = 200, max_bytes: int = 65_536) -> list[str]:
    """Return the last lines of a log, from at most max_bytes; of a progress bar only the last state."""
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
    """Return the free bytes on the disk of the outputs folder, which need not exist.

    Raises StorageError if the folder cannot be written or the disk has less than MIN_FREE_BYTES free.
    """
    existing = next(folder for folder in (outputs, *outputs.parents) if folder.is_dir())
    if not os.access(existing, os.W_OK):
        raise StorageError(f"{outputs} cannot be written; check its permissions, or choose another folder with --outputs.")
    try:
        free = shutil.disk_usage(existing).free
    except OSError as error:
        raise storage_error(error, outputs) from error
    if free < MIN_FREE_BYTES:
        raise StorageError(
            f"Only {free >> 20} MB are free on the disk of {outputs}; free at least {MIN_FREE_BYTES >> 20} MB, then start again."
        )
    return free

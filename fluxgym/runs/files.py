"""Files of a run: atomic writes, bounded reads, locks, reserved disk space, the end of a log, and free space."""

import errno
import fcntl
import functools
import hashlib
import json
import logging
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from fluxgym.contract.codes import ReasonCode
from fluxgym.contract.files import PRIVATE_FOLDER
from fluxgym.contract.regular_files import UnsafeFile, open_regular, read_regular, update_regular
from fluxgym.contract.volumes import sync_file, sync_folder
from fluxgym.errors import AlreadyRunning, NotReadableNow, StorageError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
LOCK_POLL_S = 0.05
log = logging.getLogger(__name__)
EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
RESERVED_BYTES = 4096
MIN_FREE_BYTES = 500 << 20  # stay free for the trainings that run
MAX_JSON_BYTES = 4 << 20


def write_text(path: Path, text: str) -> None:
    """Replace a file's text atomically and durably.

    Raises:
        StorageError: If it cannot be written.
    """
    tmp_path = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tmp_path.open("x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            sync_file(file.fileno())
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
    """Replace a JSON file atomically and durably.

    Raises:
        StorageError: If it cannot be written.
    """
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


def is_served(path: Path) -> bool:
    """Return True if a file of a run may be sent: a regular file; neither it nor its folder is a link."""
    try:
        return not path.is_symlink() and path.parent.resolve() == path.parent and path.is_file()
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


def read_json(path: Path, *, max_bytes: int = MAX_JSON_BYTES) -> Any:
    """Return the content of a JSON file, None if it is missing, damaged, larger than max_bytes, or not a regular file.

    Raises:
        NotReadableNow: If that cannot be known.
    """
    try:
        return parse_json(read_regular(path, max_bytes))
    except (OSError, ValueError, RecursionError) as error:
        raise_if_exhausted(error, path)
        return None


def raise_if_exhausted(error: Exception, path: Path) -> None:
    """Raise NotReadableNow if an error is a shortage of this machine, which says nothing about the file or process to be read."""
    if isinstance(error, OSError) and error.errno in EXHAUSTED:
        raise _exhausted(error, path) from error


def _exhausted(error: OSError, path: Path) -> NotReadableNow:
    what = "this machine has no memory left" if error.errno == errno.ENOMEM else "too many files are open"
    return NotReadableNow(
        f"{path} cannot be opened now, because {what}. Nothing was changed. Close other programs or pages, or raise the limit (ulimit -n), "
        "and try again."
    )


def parse_json(data: bytes) -> Any:
    """Return the value of JSON text, with "?" for lone surrogates, which cannot be encoded.

    Raises:
        ValueError: If it is not JSON.
        RecursionError: If it is nested too deeply.
    """
    value = json.loads(data)
    if b"\\u" not in data:
        return value
    return json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))


def reason_code_of(error: StorageError) -> ReasonCode:
    """Return the reason code of a storage error: DISK_FULL, or STORAGE for every other cause."""
    return ReasonCode.DISK_FULL if isinstance(error.__cause__, OSError) and error.__cause__.errno in FULL else ReasonCode.STORAGE


def storage_error(error: OSError, path: Path) -> StorageError:
    """Return the error with one sentence about why a file could not be written."""
    if error.errno in EXHAUSTED:
        return _exhausted(error, path)
    if isinstance(error, UnsafeFile):
        return StorageError(f"{error.filename or path} cannot be used: {error.strerror}. Remove it, or replace it by a regular file.")
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


class NoLocks(OSError):
    """A volume refuses flock."""


def without_locks(folder: Path) -> str:
    """Return the sentence about a volume without locks, where the locks of this machine are used."""
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


def is_open_file(handle: int, path: Path) -> bool:
    """Return True if a path still is the open file: a program that cleans temporary folders may have removed it, and with it its lock."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except OSError:
        return False


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


def reserve(path: Path) -> None:
    """Write a file of RESERVED_BYTES to reserve disk space. On a full disk it does nothing: later writes report that."""
    with suppress(StorageError):
        write_text(path, " " * RESERVED_BYTES)


def write_reserved(path: Path, text: str) -> None:
    """Write a text of at most RESERVED_BYTES into reserved space.

    Raises:
        StorageError: If none was reserved.
    """
    try:
        with update_regular(path) as file:
            file.write(text.encode().ljust(RESERVED_BYTES))
            file.flush()
            sync_file(file.fileno())
    except OSError as error:
        raise storage_error(error, path) from error


def tail(path: Path, num_lines: int = 200, max_bytes: int = 65_536, *, start: int = 0) -> list[str]:
    """Return the last lines of a log, from at most max_bytes and none before the byte `start`; of a progress bar only the last state."""
    try:
        with open_regular(path) as file:
            size = file.seek(0, 2)
            file.seek(max(start, size - max_bytes))
            data = file.read()
    except OSError:
        return []
    if size - start > max_bytes:
        data = data.partition(b"\n")[2] or data
    lines = data.decode("utf-8", "replace").split("\n")
    shown = [line.rstrip("\r").rpartition("\r")[2] for line in lines]
    return (shown[:-1] if shown and not shown[-1] else shown)[-num_lines:]


def check_free_space(outputs: Path) -> int:
    """Return the free bytes on the disk of the outputs folder, which need not exist.

    Raises:
        StorageError: If the folder cannot be written or the disk has less than MIN_FREE_BYTES free.
    """
    existing = _existing(outputs)
    if not os.access(existing, os.W_OK):
        raise StorageError(f"{outputs} cannot be written; check its permissions, or choose another folder with --outputs.")
    return ensure_room(outputs, 0)


def ensure_room(folder: Path, num_bytes: int) -> int:
    """Return the free bytes on the disk of a folder, which need not exist.

    Raises:
        StorageError: If num_bytes more would leave less than MIN_FREE_BYTES for the trainings that run.
    """
    try:
        free = shutil.disk_usage(_existing(folder)).free
    except OSError as error:
        raise storage_error(error, folder) from error
    if free >= num_bytes + MIN_FREE_BYTES:
        return free
    if not num_bytes:
        raise StorageError(
            f"Only {free >> 20} MB are free on the disk of {folder}; free at least {MIN_FREE_BYTES >> 20} MB, then start again."
        )
    raise StorageError(
        f"There is not enough room on the disk of {folder}: {num_bytes / 1e6:,.0f} MB are needed, {free / 1e6:,.0f} MB are free, and "
        f"{MIN_FREE_BYTES / 1e6:,.0f} MB of these stay reserved for trainings that run. Free disk space, then try again."
    )


def _existing(folder: Path) -> Path:
    return next(existing for existing in (folder, *folder.parents) if existing.is_dir())

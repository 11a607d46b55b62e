"""Files that are whole or absent: temporary name in the same folder, fsync, rename, fsync of the folder."""

import errno
import json
import os
import secrets
import stat
from pathlib import Path
from typing import Any, BinaryIO

from fluxgym.errors import StorageError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def write_text(path: Path, text: str) -> None:
    """Replace a file's text; readers see the old or the new one, never half. Raises StorageError when the disk refuses."""
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with aside.open("x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        _remove(aside)
        raise storage_error(error, path) from error
    except UnicodeEncodeError:
        _remove(aside)
        raise StorageError(f"The text for {path.name} holds half a letter, which no file can hold; type it anew.") from None


def write_json(path: Path, value: Any) -> None:
    """Replace a JSON file; raises StorageError when the disk refuses."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # half a letter, as JSON edited by hand may hold; escaped it stays what it was
        text = json.dumps(value, indent=2)
    write_text(path, text + "\n")


def _remove(aside: Path) -> None:
    try:
        aside.unlink(missing_ok=True)
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


def reason_code_of(error: StorageError) -> str:
    """Return the reason_code of what the disk refused: `disk_full`, or `storage` for all else."""
    return "disk_full" if isinstance(error.__cause__, OSError) and error.__cause__.errno in FULL else "storage"


def storage_error(error: OSError, path: Path) -> StorageError:
    """Say in one sentence why a file could not be written."""
    if error.errno in FULL:
        return StorageError(f"The disk is full: {path} could not be written. Free some space and try again.")
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return StorageError(
            f"{path} cannot be written ({error.strerror}); check the folder's permissions, or choose another with --outputs."
        )
    return StorageError(f"{path} could not be written: {error.strerror or error}.")

"""Free space on the disk, and space that is reserved for files which must be written when the disk is full."""

import os
import shutil
from contextlib import suppress
from pathlib import Path

from fluxgym.contract.regular_files import update_regular
from fluxgym.contract.volumes import sync_file
from fluxgym.errors import StorageError
from fluxgym.runs.atomic_files import write_text
from fluxgym.runs.storage_errors import storage_error

RESERVED_BYTES = 4096
MIN_FREE_BYTES = 500 << 20  # stay free for the trainings that run


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


def check_free_space(outputs: Path) -> int:
    """Return the free bytes on the disk of the outputs folder, which need not exist.

    Raises:
        StorageError: If the folder cannot be written or the disk has less than MIN_FREE_BYTES free.
    """
    existing = _existing(outputs)
    if not os.access(existing, os.W_OK):
        raise StorageError(f"{outputs} cannot be written; check its permissions, or choose another folder with --outputs.")
    return ensure_free_space(outputs, 0)


def ensure_free_space(folder: Path, num_bytes: int) -> int:
    """Return the free bytes on the disk of a folder, which need not exist.

    Raises:
        StorageError: If num_bytes more would leave less than MIN_FREE_BYTES for live trainings.
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
        f"The disk of {folder} does not have enough free space: {num_bytes / 1e6:,.0f} MB are needed, {free / 1e6:,.0f} MB are free, and "
        f"{MIN_FREE_BYTES / 1e6:,.0f} MB of these stay reserved for trainings that run. Free disk space, then try again."
    )


def _existing(folder: Path) -> Path:
    return next(existing for existing in (folder, *folder.parents) if existing.is_dir())

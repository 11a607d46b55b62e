"""Errors of a full disk, and system calls that some volumes (SMB, FUSE, /mnt/c of WSL2, network storage of pods) do not support.

Durability after a power cut and permissions are only hardening: a file is usable without them, so errors that mean “not supported” are ignored.
"""

import errno
import os
from contextlib import suppress

UNSUPPORTED = frozenset(
    {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOTTY, errno.EPERM, errno.EACCES, errno.EISDIR}
)

DISK_FULL_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def sync_file(handle: int) -> None:
    """Make a file's content durable where the volume can.

    Raises:
        OSError: If the disk fails or is full.
    """
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise


def sync_folder(folder: str | os.PathLike[str]) -> None:
    """Make renames in a folder durable where the volume can.

    Raises:
        OSError: If the disk fails.
    """
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        return
    try:
        sync_file(handle)
    finally:
        os.close(handle)


def try_chmod(path: str | os.PathLike[str], mode: int) -> None:
    """Set a file's permissions where the volume has any."""
    with suppress(OSError):
        os.chmod(path, mode)  # noqa: PTH101 (takes what sync_folder takes)

"""Turn an OSError into an error message for the user."""

import errno
from pathlib import Path

from fluxgym.contract.codes import ReasonCode
from fluxgym.contract.regular_files import UnsafeFile
from fluxgym.contract.volumes import DISK_FULL_ERRORS
from fluxgym.errors import NotReadableNow, StorageError

EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


def storage_error(error: OSError, path: Path) -> StorageError:
    """Return the StorageError for a file that could not be written, with the reason."""
    if error.errno in EXHAUSTED:
        return _exhausted(error, path)
    if isinstance(error, UnsafeFile):
        return StorageError(f"{error.filename or path} cannot be used: {error.strerror}. Remove it, or replace it by a regular file.")
    if error.errno in DISK_FULL_ERRORS:
        return StorageError(f"The disk is full: {path} could not be written. Free some space and try again.")
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return StorageError(
            f"{path} cannot be written ({error.strerror}); check the folder's permissions, or choose another with --outputs."
        )
    return StorageError(f"{path} could not be written: {error.strerror or error}.")


def reason_code_of(error: StorageError) -> ReasonCode:
    """Return the reason code of a storage error: DISK_FULL, or STORAGE for every other cause."""
    return (
        ReasonCode.DISK_FULL if isinstance(error.__cause__, OSError) and error.__cause__.errno in DISK_FULL_ERRORS else ReasonCode.STORAGE
    )


def raise_if_exhausted(error: Exception, path: Path) -> None:
    """Raise NotReadableNow if an error means exhausted file descriptors or memory, and not a problem of the file or process to be read."""
    if isinstance(error, OSError) and error.errno in EXHAUSTED:
        raise _exhausted(error, path) from error


def _exhausted(error: OSError, path: Path) -> NotReadableNow:
    what = "this machine has no memory left" if error.errno == errno.ENOMEM else "too many files are open"
    return NotReadableNow(
        f"{path} cannot be opened now, because {what}. Nothing was changed. Close other programs or pages, or raise the limit (ulimit -n), "
        "and try again."
    )

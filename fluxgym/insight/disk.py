"""How much room a disk has to have: asked in one way by the form, by Start in page and terminal, and by each upload."""

import os
import shutil
from pathlib import Path

from fluxgym.errors import StorageError
from fluxgym.run.atomic import storage_error

RESERVE_BYTES = 500 << 20


def check_room(outputs: Path) -> int:
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

"""Room on the disk for what must be written even when it is full: a small file taken at the start and overwritten in place at need."""

import os
from contextlib import suppress
from pathlib import Path

from fluxgym.errors import StorageError
from fluxgym.run.atomic import storage_error, write_text

RESERVED_BYTES = 4096


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

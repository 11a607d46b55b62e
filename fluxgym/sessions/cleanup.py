"""Remove unused files: those of deleted runs, abandoned drafts, and leftovers of interrupted starts and imports."""

import logging
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from fluxgym.runs.atomic_files import remove_file
from fluxgym.runs.detached import start_detached
from fluxgym.runs.paths import OutputsPaths

DAY_S = 86_400.0
logger = logging.getLogger(__name__)
DRAFT_DAYS = 90
UPLOAD_S, UPLOAD_PREFIX = 3600.0, ".upload-"
NEW_DAYS = 2  # longer than any start or import takes


def remove_leftovers(outputs: Path) -> None:
    """Remove abandoned drafts and what interrupted starts, imports and uploads left; what cannot be removed is tried again at the next start."""
    paths = OutputsPaths(outputs)
    for folder, days in ((paths.drafts, DRAFT_DAYS), (paths.new, NEW_DAYS)):
        for path in _older_than(folder, days):
            logger.info("removing %s, untouched for %d days", path, days)
            _remove(path)
    for draft in _entries(paths.drafts):
        remove_interrupted_uploads(draft)


def remove_interrupted_uploads(folder: Path) -> None:
    """Remove the temporary files of uploads in a folder to which nothing was written for an hour; an upload ends after a minute without data."""
    limit = time.time() - UPLOAD_S
    for path in _entries(folder):
        try:
            if path.name.startswith(UPLOAD_PREFIX) and path.lstat().st_mtime < limit:
                _remove(path)
        except OSError:
            continue  # it has ended just now


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _older_than(folder: Path, days: int) -> list[Path]:
    limit = time.time() - days * DAY_S
    try:
        return [path for path in folder.iterdir() if max(_touched(path)) < limit]
    except OSError:
        return []


def _touched(path: Path) -> Iterator[float]:
    """Yield the modification times of a path and, for a folder, of its direct entries, in seconds since the epoch."""
    yield path.lstat().st_mtime
    if path.is_dir() and not path.is_symlink():
        for inner in path.iterdir():
            yield inner.lstat().st_mtime


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
        return
    if error := remove_file(path):
        logger.warning("%s could not be removed: %s", path, error)


def remove_in_background(outputs: OutputsPaths) -> None:
    """Start `remove_deleted` in a separate process.

    Raises:
        OSError: If it cannot be started.
    """
    start_detached([sys.executable, "-m", "fluxgym.sessions.cleanup", str(outputs.root.absolute())])


def remove_deleted(outputs: OutputsPaths) -> None:
    """Remove the files of deleted runs as far as permissions allow; of a symbolic link only the link is removed."""
    for folder in outputs.deleted.iterdir():
        if folder.is_symlink():
            folder.unlink(missing_ok=True)
        else:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    remove_deleted(OutputsPaths(Path(sys.argv[1])))

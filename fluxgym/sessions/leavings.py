"""What nobody comes back for, removed at the app's start: drafts untouched for long, and what a killed start, import or export left in `new`."""

import logging
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from fluxgym.run.paths import OutputsPaths

logger = logging.getLogger(__name__)
DRAFT_DAYS = 90
NEW_DAYS = 2  # no start and no import takes so long
DAY_S = 86_400.0


def clear_leavings(outputs: Path) -> None:
    """Remove them; what cannot be removed is left for the next start."""
    paths = OutputsPaths(outputs)
    for folder, days in ((paths.drafts, DRAFT_DAYS), (paths.new, NEW_DAYS)):
        for path in _older_than(folder, days):
            logger.info("removing %s, untouched for %d days", path, days)
            _remove(path)


def _older_than(folder: Path, days: int) -> list[Path]:
    limit = time.time() - days * DAY_S
    try:
        return [path for path in folder.iterdir() if max(_touched(path)) < limit]
    except OSError:
        return []


def _touched(path: Path) -> Iterator[float]:
    """Yield when a thing and what lies directly in it were changed; a folder's own time tells of every file that is replaced in it."""
    yield path.lstat().st_mtime
    if path.is_dir() and not path.is_symlink():
        for inner in path.iterdir():
            yield inner.lstat().st_mtime


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
        return
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        logger.warning("%s could not be removed: %s", path, error)

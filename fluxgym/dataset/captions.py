"""Whether a caption file says anything, told again and again for thousands of them: a file that was read once is known by its identity."""

import os
from pathlib import Path

from fluxgym.run.atomic import open_regular

CAPTION = ".txt"
MAX_KNOWN = 200_000
_known: dict[tuple[int, int, int, int], bool] = {}


def has_words(entry: os.DirEntry[str]) -> bool:
    """Say whether a caption file holds more than white space; one that cannot be read does not."""
    try:
        status = entry.stat()
        key = (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)
        if (known := _known.get(key)) is not None:
            return known
        with open_regular(Path(entry.path)) as file:
            found = bool(file.read().decode("utf-8-sig", "replace").strip())
    except OSError:
        return False
    if len(_known) >= MAX_KNOWN:
        _known.clear()
    return _known.setdefault(key, found)

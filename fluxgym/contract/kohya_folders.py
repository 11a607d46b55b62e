"""Kohya's folders of images: those in `10_sks cat` are used ten times per epoch, with the caption "sks cat" where no file has another."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

FOLDER = re.compile(r"(\d{1,9})_(.*)")
MAX_CLEAR_REPEATS = 1000  # a larger number is more likely a year


@dataclass(frozen=True, kw_only=True)
class KohyaFolder:
    """The repeats and class tokens in the name of a folder."""

    name: str
    num_repeats: int
    class_tokens: str


def kohya_folder(name: str) -> KohyaFolder | None:
    """Parse a folder's name; return None if it does not have kohya's form."""
    match = FOLDER.fullmatch(name)
    return KohyaFolder(name=name, num_repeats=int(match[1]), class_tokens=match[2]) if match else None


def clear_folders(names: Iterable[str]) -> tuple[KohyaFolder, ...]:
    """Parse the names of all folders with images, sorted by name; return () if one of them does not clearly have kohya's form."""
    found = [kohya_folder(name) for name in sorted(names)]
    clear = [
        folder for folder in found if folder is not None and 1 <= folder.num_repeats <= MAX_CLEAR_REPEATS and folder.class_tokens.strip()
    ]
    return tuple(clear) if len(clear) == len(found) else ()


def common_repeats(folders: Iterable[KohyaFolder]) -> int | None:
    """Return the repeats that all folders have, None if they differ or there are no folders."""
    found = {folder.num_repeats for folder in folders}
    return found.pop() if len(found) == 1 else None


def common_class(folders: Iterable[KohyaFolder]) -> str:
    """Return the class tokens that all folders have, "" if they differ."""
    found = {folder.class_tokens.strip() for folder in folders}
    return found.pop() if len(found) == 1 else ""

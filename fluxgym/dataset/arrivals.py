"""Where an uploaded file goes in a folder of images: no image is replaced by another one, and none is added twice."""

from collections.abc import Iterable
from enum import StrEnum
from itertools import count
from pathlib import Path
from typing import NamedTuple

from fluxgym.contract.caption_files import CAPTION, caption_name
from fluxgym.contract.dataset_rules import is_image_name
from fluxgym.contract.folder_summary import content_digest
from fluxgym.dataset.file_names import has_unusable_characters, shown_name, taken_stems
from fluxgym.errors import DatasetError


class Outcome(StrEnum):
    """What an upload did to the folder."""

    ADDED = "added"
    RENAMED = "renamed"  # added under the next free name, because another image has its name
    PRESENT = "present"  # nothing: the same content is there already
    REPLACED = "replaced"  # the caption that was there

    @property
    def can_be_undone(self) -> bool:
        """True if it did something that the user may not expect."""
        return self in (Outcome.RENAMED, Outcome.REPLACED)


class Arrival(NamedTuple):
    """The name of an uploaded file in its folder, and what the upload does there."""

    name: str
    outcome: Outcome


def arrival_of_image(source: Path, name: str, folder: Path, files: Iterable[str]) -> Arrival:
    """Return where an image goes. Captions are found by stem, so its stem is one that no other image has, in whatever case of letters.

    A stem with a number is also one that no caption has: that caption waits for another image.

    Raises:
        OSError: If an image of this name cannot be read.
    """
    by_stem: dict[str, list[str]] = {}
    files = list(files)
    for other in filter(is_image_name, files):
        by_stem.setdefault(Path(other).stem.casefold(), []).append(other)
    waiting = taken_stems(other for other in files if not is_image_name(other))
    stem, suffix = Path(name).stem, Path(name).suffix
    for number in count(1):
        free = stem if number == 1 else f"{stem}-{number}"
        others = by_stem.get(free.casefold())
        if others is None and (number == 1 or free.casefold() not in waiting):
            return Arrival(free + suffix, Outcome.ADDED if number == 1 else Outcome.RENAMED)
        if same := next((other for other in others or () if is_same_file(source, folder / other)), ""):
            return Arrival(same, Outcome.PRESENT)
    raise AssertionError("count() does not end")


def arrival_of_caption(source: Path, name: str, folder: Path, given: str) -> Arrival:
    """Return where a caption goes: its plain name, such as a.txt for a.png.txt, or its own name if there is a caption of the plain one.

    Raises:
        DatasetError: If a caption has that name, and the given one became equal only because characters were left out.
        OSError: If that caption cannot be read.
    """
    plain, own = caption_name(name), Path(name).stem + CAPTION
    free = own if own != plain and (folder / plain).exists() else plain
    if not (folder / free).exists():
        return Arrival(free, Outcome.ADDED)
    if is_same_file(source, folder / free):
        return Arrival(free, Outcome.PRESENT)
    if has_unusable_characters(given):
        raise DatasetError(
            f"“{shown_name(given)}” would be stored as {free}, which is another caption here; rename it and its image, and add both again.",
            field="images",
        )
    return Arrival(free, Outcome.REPLACED)


def is_same_file(one: Path, other: Path) -> bool:
    """Return True if two files have the same content.

    Raises:
        OSError: If one of them cannot be read.
    """
    return one.stat().st_size == other.stat().st_size and content_digest(one) == content_digest(other)

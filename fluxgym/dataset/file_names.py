"""Safe and unique names for uploaded files in a run: unusable characters are removed, numbers are added."""

import hashlib
import os
import unicodedata
from collections.abc import Callable, Iterable, Set
from itertools import count
from pathlib import Path

from fluxgym.contract.caption_files import CAPTION, caption_name
from fluxgym.contract.dataset_rules import is_image_name, is_name_character, is_reserved_name
from fluxgym.contract.limits import MAX_GIVEN_NAME_BYTES
from fluxgym.errors import DatasetError

DIGEST_CHARACTERS = 8
MAX_SUFFIX = 8  # an image and its caption are cut equally, whatever their endings


def stems_of(names: Iterable[str]) -> set[str]:
    """Return the stems of image names: images with one stem share a caption."""
    return {Path(name).stem for name in names}


def free_stem(stem: str, taken: Set[str], *, key: Callable[[str], str] = str) -> str:
    """Return a stem that is not taken, with a number if necessary. Stems are compared by key."""
    return next(free for number in count(1) if key(free := stem if number == 1 else f"{stem}-{number}") not in taken)


def taken_stems(names: Iterable[str]) -> set[str]:
    """Return the stems, in lower case, that a new image must not get: those of images, and those whose caption is here already."""
    return {stem.casefold() for name in names for stem in {Path(name).stem, Path(caption_name(name)).stem}}


def short_stem(stem: str, suffix: str) -> str:
    """Return a stem cut so that it has at most MAX_GIVEN_NAME_BYTES with its suffix."""
    while stem and len(os.fsencode(stem + suffix)) > MAX_GIVEN_NAME_BYTES:
        stem = stem[:-1]
    return stem


def without_folders(name: str) -> str:
    return name.replace("\\", "/").rsplit("/", 1)[-1]


def normal_name(name: str) -> str:
    """Return a file name without folders, in the normal form in which names are stored."""
    return unicodedata.normalize("NFC", without_folders(name))


def has_unusable_characters(name: str) -> bool:
    """Return True if `safe_name` leaves out characters of a file name, so that different names may become equal."""
    return _printable(normal_name(name)).lstrip(".") != normal_name(name)


def _printable(name: str) -> str:
    return "".join(filter(is_name_character, name)).strip()


def safe_name(name: str) -> str:
    """Return a file name without folders, control characters and leading dots.

    Raises:
        DatasetError: If nothing is left before the extension, or it is a name that Windows cannot store.
    """
    plain = _printable(normal_name(name))
    if is_extension(plain.lstrip(". ")) and plain.startswith("."):
        extension = plain.lstrip(". ").lower()
        raise DatasetError(
            f"“{shown_name(without_folders(name))}” has no name before its extension; give it one, such as 1.{extension}.", field="images"
        )
    plain = plain.lstrip(".")
    stem, suffix = Path(plain).stem, Path(plain).suffix
    if len(os.fsencode(plain)) > MAX_GIVEN_NAME_BYTES:
        digest = hashlib.sha256(os.fsencode(stem)).hexdigest()[:DIGEST_CHARACTERS]  # so that different long names stay different
        stem = f"{short_stem(stem, f'-{digest}'.ljust(1 + DIGEST_CHARACTERS + MAX_SUFFIX))}-{digest}"
    if not stem:
        raise DatasetError(f"“{name[:80]}” is not a valid file name.", field="images")
    if is_reserved_name(plain):
        raise DatasetError(f"“{plain}” has a name that Windows reserves; rename it, for example to 1{suffix.lower()}.", field="images")
    return stem + suffix


def is_extension(text: str) -> bool:
    """Return True for the extension of an image or a caption without its dot."""
    return f".{text.lower()}" == CAPTION or (is_image_name(f"1.{text}") and "." not in text)


def shown_name(name: str) -> str:
    """Return a name of at most 80 characters in which control characters are visible as “?”."""
    return "".join(char if is_name_character(char) else "?" for char in name[:80])

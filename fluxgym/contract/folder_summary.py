"""The content of a folder of images: captions, duplicate files, subfolders, and captions without the trigger word.

The messages about it are in `dataset_notes`.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fluxgym.contract.caption_files import Pairing
from fluxgym.contract.dataset_rules import is_image_name
from fluxgym.contract.regular_files import open_regular


@dataclass(frozen=True, kw_only=True)
class FolderSummary:
    """What a folder of images holds, and which files would not be trained.

    captions: the text by image, "" without one. undecodable: caption files in an unknown encoding. refused: caption files that are not
    regular files or are too large, with the reason. equal: groups of images of the same content. subfolders: number of images by folder.
    not_files: names of images that are folders, pipes, devices or links that lead nowhere.
    """

    captions: Mapping[str, str]
    pairing: Pairing
    undecodable: tuple[str, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)
    equal: tuple[tuple[str, ...], ...] = ()
    subfolders: Mapping[str, int] = field(default_factory=dict)
    not_files: tuple[str, ...] = ()


def required_trigger(trigger: str, *, prefix: str, suffix: str) -> str:
    """Return the trigger word that each caption should contain: "" if the prefix or suffix of all captions contains it."""
    trigger = trigger.strip()
    return "" if trigger.casefold() in f"{prefix} {suffix}".casefold() else trigger


def without_trigger(captions: Mapping[str, str], trigger: str) -> list[str]:
    """Return the names of the images that have a caption, but one without the trigger word, in whatever case of letters."""
    word = trigger.strip().casefold()
    return [name for name, text in captions.items() if text and word not in text.casefold()] if word else []


def images_in_subfolders(folder: Path) -> dict[str, int]:
    """Return how many images each folder inside a folder holds; only those with images, and no hidden ones."""
    numbers = {}
    for inner in sorted(folder.iterdir()):
        if inner.name.startswith(".") or not inner.is_dir():
            continue
        try:
            number = sum(is_image_name(path.name) and path.is_file() for path in inner.iterdir())
        except OSError:
            continue  # a folder that cannot be read is not the user's data set
        if number:
            numbers[inner.name] = number
    return numbers


def equal_files(sizes: Mapping[str, int], digest: Callable[[str], bytes]) -> tuple[tuple[str, ...], ...]:
    """Return the groups of files with the same content; only files of the same size are read, by `digest`."""
    by_size: dict[int, list[str]] = {}
    for name, size in sizes.items():
        by_size.setdefault(size, []).append(name)
    by_content: dict[bytes, list[str]] = {}
    for name in (name for names in by_size.values() if len(names) > 1 for name in names):
        by_content.setdefault(digest(name), []).append(name)
    return tuple(sorted(tuple(sorted(names)) for names in by_content.values() if len(names) > 1))


def content_digest(path: Path) -> bytes:
    """Return a hash of a file's content.

    Raises:
        OSError: If it cannot be read.
    """
    with open_regular(path, follow_links=True) as file:
        return hashlib.file_digest(file, "blake2b").digest()

"""Rules by which images become a dataset: file names, orientation, held-out images, repeats of regularization images."""

import hashlib
import math
import unicodedata
from collections.abc import Callable, Sequence

from fluxgym.contract.images.formats import FORMATS
from fluxgym.contract.limits import MAX_NAME_BYTES

IMAGE_EXTENSIONS = tuple(extension for image_format in FORMATS for extension in image_format.extensions)
_EXTENSIONS = frozenset(IMAGE_EXTENSIONS)
RESERVED_NAMES = frozenset(("con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10))))
EXIF_ORIENTATION = 0x0112
EXIF_SIDEWAYS = (5, 6, 7, 8)  # orientations that swap width and height


def is_image_name(name: str) -> bool:
    """Return True if a file name has an image's extension and something other than dots before it."""
    stem, dot, extension = name.rpartition(".")
    return dot + extension.lower() in _EXTENSIONS and bool(stem.strip("."))


def is_name_character(char: str) -> bool:
    """Return False for control characters, line separators and halves of characters, which the name of an image in a run does not have."""
    return unicodedata.category(char) not in ("Cc", "Cs", "Zl", "Zp")


def is_portable_name(name: str) -> bool:
    """Return True if a file of this name can be exported and imported: Start accepts only images with such names."""
    is_plain = not name.startswith(".") and "\\" not in name and all(map(is_name_character, name))
    return is_plain and len(name.encode("utf-8", "surrogateescape")) <= MAX_NAME_BYTES


def is_reserved_name(name: str) -> bool:
    """Return True for a name that Windows and its drives in WSL2 take for a device, whatever follows its first dot: con.png, LPT1.a.txt."""
    return name.split(".")[0].rstrip().lower() in RESERVED_NAMES


def upright_size(size: tuple[int, int], image_format: str | None, read_orientation: Callable[[], object]) -> tuple[int, int]:
    """Return (width, height) after EXIF rotation, from the stored size and Pillow's name of the file format.

    read_orientation returns the EXIF orientation. It is not called for TIFF files, which Pillow rotates itself.
    """
    is_sideways = image_format != "TIFF" and read_orientation() in EXIF_SIDEWAYS
    return (size[1], size[0]) if is_sideways else size


ALL_HELD_OUT = "validation_split holds every image out, so no image is left to train on; hold out fewer."


def held_out_indices(count: int, share: float, seed: int) -> set[int]:
    """Return which of `count` images, sorted by name, are held out for validation: a share, rounded down, drawn by the seed alone.

    A folder in two datasets of different resolutions is split alike in both. kohya's trainer rounds each part separately, so that an image
    can be in both.
    """

    def draw(index: int) -> int:
        return int.from_bytes(hashlib.sha256(f"{seed}/validation/{index}".encode()).digest()[:8], "big") >> 1

    num_held_out = count - math.ceil(round(count * (1 - share), 6))
    return set(sorted(range(count), key=draw)[:num_held_out])


def regularization_repeats(own_repeats: Sequence[int], total: int) -> list[int]:
    """Return the repeats of regularization images so that they sum to `total`, the repeats of all training images.

    Each image first gets its own repeats, in order, until the total is reached; the rest is distributed evenly, with one more for each of the first images.
    """
    repeats = []
    left = total if own_repeats else 0
    for wanted in own_repeats:
        repeats.append(min(wanted, left))
        left -= repeats[-1]
    return [count + left // len(repeats) + (index < left % len(repeats)) for index, count in enumerate(repeats)]

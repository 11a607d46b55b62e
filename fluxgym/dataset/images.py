"""Is this file an image, how large is it upright, and its thumbnail. Knows files only, not captions or runs."""

import io
import os
import threading
from dataclasses import dataclass
from pathlib import Path

from fluxgym.contract.dataset_rules import EXIF_ORIENTATION, upright_size
from fluxgym.errors import BadImage

MAX_BYTES = 330_000_000  # decoded: 110 megapixels of RGB
MAX_THUMBNAILS = 4000
MAX_KNOWN = 200_000


@dataclass(frozen=True)
class ImageSize:
    """An image's size as seen, after EXIF rotation."""

    width: int
    height: int


_one_at_a_time = threading.Lock()  # a large image takes hundreds of megabytes while it is decoded
_thumbnails: dict[tuple[int, ...], bytes] = {}
_known: dict[tuple[int, int, int, int], ImageSize] = {}


def _file_id(path: Path | os.DirEntry[str]) -> tuple[int, int, int, int]:
    """Return what tells a file from every other and from its own earlier content, whatever it is called or linked as."""
    status = path.stat()
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size


def _remember(path: Path, info: ImageSize) -> ImageSize:
    if len(_known) >= MAX_KNOWN:
        _known.clear()
    _known[_file_id(path)] = info
    return info


def check_image(path: Path) -> ImageSize:
    """Decode an image whole; raises BadImage, which names it, if it is not an image, damaged, or far too large."""
    from PIL import Image, UnidentifiedImageError  # loads slowly: not for those who only list sessions

    try:
        with Image.open(path) as image:
            if image.width * image.height * len(image.getbands()) > MAX_BYTES:
                raise BadImage(
                    f"{path.name} has {image.width}x{image.height} pixels, more than can be read; make it smaller.", field="images"
                )
            with _one_at_a_time:
                image.load()
            return _remember(path, ImageSize(*upright_size(image.size, image.format, lambda: image.getexif().get(EXIF_ORIENTATION))))
    except UnidentifiedImageError:
        raise BadImage(f"{path.name} is not an image; save it as a real .png or .jpg.", field="images") from None
    except (OSError, ValueError, SyntaxError, RuntimeError, Image.DecompressionBombError) as error:
        raise BadImage(f"{path.name} cannot be read as an image ({error}); save it again.", field="images") from None


def read_size(path: Path) -> ImageSize:
    """Return an image's size; raises BadImage as check_image does. Most are told by their header; Pillow decodes a PNG for its EXIF."""
    from PIL import Image, UnidentifiedImageError

    try:
        if (known := _known.get(_file_id(path))) is not None:
            return known
        with Image.open(path) as image:
            return _remember(path, ImageSize(*upright_size(image.size, image.format, lambda: image.getexif().get(EXIF_ORIENTATION))))
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, RuntimeError, Image.DecompressionBombError):
        raise BadImage(f"{path.name} is not an image, or is damaged; remove it or save it again.", field="images") from None


def known_size(entry: os.DirEntry[str]) -> ImageSize | None:
    """Return the size of a file that was looked at before, None for another; it opens nothing, so that a form of thousands answers at once."""
    try:
        return _known.get(_file_id(entry))
    except OSError:
        return None


def num_pixels(path: Path) -> int:
    """Return how many pixels an image's header tells of, before anything of it is decoded; raises BadImage as check_image does."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return image.width * image.height
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, RuntimeError, Image.DecompressionBombError):
        raise BadImage(f"{path.name} is not an image, or has more pixels than can be read.", field="images") from None


def thumbnail(path: Path, side: int) -> bytes:
    """Return a small JPEG of an image, upright; raises BadImage when it cannot be read."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        key = (*_file_id(path), side)
        if (made := _thumbnails.get(key)) is not None:
            return made
        with _one_at_a_time, Image.open(path) as image:
            if image.width * image.height * len(image.getbands()) > MAX_BYTES:
                raise ValueError("too many pixels")
            image.draft("RGB", (side * 2, side * 2))
            image.thumbnail((side, side))  # before anything is copied
            buffer = io.BytesIO()
            ImageOps.exif_transpose(image).convert("RGB").save(buffer, "JPEG", quality=85)
        if len(_thumbnails) >= MAX_THUMBNAILS:
            _thumbnails.clear()
        return _thumbnails.setdefault(key, buffer.getvalue())
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, RuntimeError, Image.DecompressionBombError):
        raise BadImage(f"{path.name} is not an image, or is damaged.", field="images") from None

"""Check image files, and return their sizes and thumbnails. Results are cached by the file's identity, so that a rename keeps them."""

import functools
import io
import os
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from fluxgym.contract.dataset_rules import EXIF_ORIENTATION, upright_size
from fluxgym.errors import BadImage
from fluxgym.runs.files import raise_if_exhausted

if TYPE_CHECKING:
    from PIL import Image

MAX_BYTES = 330_000_000  # decoded: 110 megapixels of RGB
MAX_THUMBNAILS = 4000
MAX_SIZES = 200_000
_DECODE_LOCK = threading.Lock()  # decoding a large image takes hundreds of megabytes


class ImageSize(NamedTuple):
    """An image's size as seen, after EXIF rotation."""

    width: int
    height: int


@dataclass(frozen=True)
class FileId:
    """A file's identity: equal for all its names and links until its content changes."""

    device: int
    inode: int
    mtime_ns: int
    size: int
    path: str = field(compare=False)

    @classmethod
    def of(cls, file: Path | os.DirEntry[str]) -> "FileId":
        """Return a file's identity; raises OSError if it does not exist."""
        status = file.stat()
        return cls(status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size, os.fspath(file))


def check_image(path: Path) -> ImageSize:
    """Decode an image completely and return its size; raises BadImage if it is not an image, damaged or too large."""
    from PIL import Image, UnidentifiedImageError  # loads slowly, and most commands do not need it

    try:
        with _DECODE_LOCK, Image.open(path) as image:
            if image.width * image.height * len(image.getbands()) > MAX_BYTES:
                raise BadImage(
                    f"{path.name} has {image.width}x{image.height} pixels, more than can be read; make it smaller.", field="images"
                )
            image.load()
            return _size_as_seen(image)
    except UnidentifiedImageError:
        raise BadImage(f"{path.name} is not an image; save it as a real .png or .jpg.", field="images") from None
    except (OSError, ValueError, SyntaxError, RuntimeError, Image.DecompressionBombError) as error:
        raise_if_exhausted(error, path)
        raise BadImage(f"{path.name} cannot be read as an image ({error}); save it again.", field="images") from None


def read_size(file: Path | os.DirEntry[str]) -> ImageSize:
    """Return an image's size, from the cache or from its header; raises BadImage if it cannot be read."""
    from PIL import Image, UnidentifiedImageError

    try:
        return _read_size(FileId.of(file))
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, RuntimeError, Image.DecompressionBombError) as error:
        raise_if_exhausted(error, Path(file))
        raise BadImage(f"{file.name} is not an image, or is damaged; remove it or save it again.", field="images") from None


@functools.lru_cache(maxsize=MAX_SIZES)
def _read_size(file: FileId) -> ImageSize:
    """Return an image's size; Pillow reads the header only, but decodes a PNG without EXIF data."""
    from PIL import Image

    with Image.open(file.path) as image:
        return _size_as_seen(image)


def _size_as_seen(image: "Image.Image") -> ImageSize:
    return ImageSize(*upright_size(image.size, image.format, lambda: image.getexif().get(EXIF_ORIENTATION)))


def num_pixels(path: Path) -> int:
    """Return the number of pixels in an image's header, without decoding; raises BadImage if it cannot be read."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return image.width * image.height
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, RuntimeError, Image.DecompressionBombError) as error:
        raise_if_exhausted(error, path)
        raise BadImage(f"{path.name} is not an image, or has more pixels than can be read.", field="images") from None


def thumbnail(path: Path, side: int) -> bytes:
    """Return an upright JPEG of an image, at most side pixels wide and high; raises BadImage if it cannot be read."""
    from PIL import Image, UnidentifiedImageError

    try:
        return _thumbnail(FileId.of(path), side)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, RuntimeError, Image.DecompressionBombError) as error:
        raise_if_exhausted(error, path)
        raise BadImage(f"{path.name} is not an image, or is damaged.", field="images") from None


@functools.lru_cache(maxsize=MAX_THUMBNAILS)
def _thumbnail(file: FileId, side: int) -> bytes:
    from PIL import Image, ImageOps

    with _DECODE_LOCK, Image.open(file.path) as image:
        if image.width * image.height * len(image.getbands()) > MAX_BYTES:
            raise ValueError("too many pixels")
        image.draft("RGB", (side * 2, side * 2))
        image.thumbnail((side, side))  # before anything is copied
        buffer = io.BytesIO()
        ImageOps.exif_transpose(image).convert("RGB").save(buffer, "JPEG", quality=85)
    return buffer.getvalue()

"""Open image files in app and trainer: detect the format by content, check the bounds, then let one decoder of Pillow read the file.

This package uses the standard library only, so the caller passes Pillow's module `Image`. Texts, color profiles and other frames are not read.
"""

import importlib
import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from fluxgym.contract.dataset_rules import EXIF_ORIENTATION, upright_size
from fluxgym.contract.images.formats import (
    HEAD_BYTES,
    HEIF,
    JXL,
    MAX_PIXELS,
    PNG,
    TIFF,
    ImageFormat,
    UnusableImage,
    check_file_size,
    check_pixels,
    format_of,
    missing_plugin,
)
from fluxgym.contract.images.headers import header_size
from fluxgym.contract.images.png_chunks import PngView, png_without_texts

TIFF_TILE_SIZE = (322, 323)  # the tags of a tile's width and height
# What decoders raise for damaged files, besides UnusableImage, which is a ValueError.
DECODER_ERRORS = (
    OSError,
    ValueError,
    SyntaxError,
    RuntimeError,
    ArithmeticError,
    LookupError,
    EOFError,
    TypeError,
    AttributeError,
    zlib.error,
)


@contextmanager
def open_image(path: Path, pillow: Any) -> Iterator[Any]:
    """Open an image and yield Pillow's object. Its pixels are not decoded yet, except for JPEG XL.

    Only the decoder of the format that the content has is tried, whatever the file is named.

    Raises:
        UnusableImage: If the file has another format, or is out of bounds.
        DECODER_ERRORS: If it is damaged or cannot be read.
    """
    with _open_regular(path) as file:
        check_file_size(os.fstat(file.fileno()).st_size)
        image_format = format_of(file.read(HEAD_BYTES))
        if size := header_size(file, image_format):
            check_pixels(*size)
        _load_plugin(image_format)
        source: BinaryIO | PngView = png_without_texts(file) if image_format is PNG else file
        source.seek(0)
        pillow.MAX_IMAGE_PIXELS = None  # check_pixels is stricter, and its message has the remedy
        with _open(source, image_format, pillow) as image:
            check_pixels(*image.size)
            if image_format is TIFF:
                _check_tiles(image.tag_v2)
            if image_format is JXL and not image.jpeg:
                image.info.pop("exif", None)  # the decoder has rotated the image; only a packed JPEG is stored as it was
            yield image


def _open(source: BinaryIO | PngView, image_format: ImageFormat, pillow: Any) -> Any:
    try:
        return pillow.open(source, formats=[image_format.name])
    except pillow.UnidentifiedImageError:
        raise UnusableImage(f"begins as a {image_format.name} image, but is damaged; save it again.") from None


def _check_tiles(tags: Any) -> None:
    """Raise UnusableImage if a TIFF is stored in tiles that are larger than any image may be: a tile is decoded as a whole."""
    width, height = (tags.get(tag) for tag in TIFF_TILE_SIZE)
    if isinstance(width, int) and isinstance(height, int) and width * height > MAX_PIXELS:
        raise UnusableImage(f"is stored in tiles of {width}x{height} pixels, more than {MAX_PIXELS // 1_000_000} million; save it again.")


def _open_regular(path: Path) -> BinaryIO:
    """Open a file.

    Raises:
        OSError: If it is a pipe or device, which could block or never end.
    """
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return file
    file.close()
    raise OSError("it is not a regular file")


def _load_plugin(image_format: ImageFormat) -> None:
    if not image_format.plugin:
        return
    try:
        plugin = importlib.import_module(image_format.plugin)
        if image_format is HEIF:
            plugin.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False)
        elif image_format is JXL:
            importlib.import_module("pillow_jxl.JpegXLImagePlugin")  # registers itself
    except ImportError:
        raise missing_plugin(image_format) from None


def rgb_on_white(image: Any, pillow: Any) -> Any:
    """Return an image in mode RGB, with white where it is transparent."""
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return pillow.alpha_composite(pillow.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def size_as_seen(image: Any, pillow: Any) -> tuple[int, int]:
    """Return (width, height) of an opened image after EXIF rotation. A PNG is not decoded for this, unlike with its own getexif()."""
    return upright_size(image.size, image.format, lambda: pillow.Image.getexif(image).get(EXIF_ORIENTATION))

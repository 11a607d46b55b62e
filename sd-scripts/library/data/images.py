"""Read images of cameras, phones and the web, and resize them to a bucket.

Images are rotated by EXIF, 16 bits are reduced to 8, and transparency is blended with white. Of an animation, the first frame is used.
"""

import errno
import math
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from fluxgym.contract.buckets import Fit, Size
from fluxgym.contract.dataset_rules import is_image_name
from fluxgym.contract.image_formats import UnusableImage
from fluxgym.contract.image_reader import DECODER_ERRORS, open_image, size_as_seen
from library.errors import TrainerError, warn

RESAMPLING = {
    "lanczos": Image.Resampling.LANCZOS, "nearest": Image.Resampling.NEAREST, "bilinear": Image.Resampling.BILINEAR,
    "linear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC, "cubic": Image.Resampling.BICUBIC, "area": Image.Resampling.BOX,
    "box": Image.Resampling.BOX,
}  # fmt: skip
STRIP = 8  # an image this many times larger than its bucket after resizing is cropped before, to limit memory


def list_images(folder: str) -> list[Path]:
    """Return a folder's images in the order of their names. Warn of folders with an image's name.

    Raises:
        TrainerError: If an image is a broken link.
    """
    named = sorted(path for path in Path(folder).iterdir() if is_image_name(path.name))
    for path in named:
        if not path.exists():
            raise TrainerError(f"{path} is a link to a file that is missing; put the file back or remove the link.")
        if not path.is_file():
            warn(f"{path} is not a file; it is ignored")
    return [path for path in named if path.is_file()]


def upright_size(path: Path) -> Size:
    """Return width and height after EXIF rotation, without decoding.

    Raises:
        TrainerError: If the file is not an image.
    """
    try:
        with open_image(path, Image) as image:
            return size_as_seen(image, Image)
    except DECODER_ERRORS as error:
        raise _unreadable(path, error) from None


def read_image(path: Path) -> Image.Image:
    """Return an upright RGB image.

    Raises:
        TrainerError: If it cannot be read completely; the message names it.
    """
    return _to_rgb(_read_upright(path))


def read_with_alpha(path: Path) -> tuple[Image.Image, Image.Image]:
    """Return an upright RGB image with its stored colors, and its alpha channel (L; white without one)."""
    image = _read_upright(path)
    if not image.has_transparency_data:
        return _to_rgb(image), Image.new("L", image.size, 255)
    image = image.convert("RGBA")
    return image.convert("RGB"), image.getchannel("A")


def _read_upright(path: Path) -> Image.Image:
    try:
        with open_image(path, Image) as image:
            image.load()
            return ImageOps.exif_transpose(image)
    except DECODER_ERRORS as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> TrainerError:
    if isinstance(error, UnusableImage):
        return TrainerError(f"{path} {error}")
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
        return TrainerError(f"{path} cannot be opened ({error.strerror}); close other programs, then start again.")
    return TrainerError(f"{path} cannot be read as an image ({error}); remove it or save it again.")


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("I", "I;16", "I;16L", "I;16B", "F"):
        return Image.fromarray((np.asarray(image, dtype=np.float32) / 257).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def resize_and_crop(image: Image.Image, fit: Fit, interpolation: str = "", offset: tuple[float, float] = (0.5, 0.5)) -> Image.Image:
    """Resize an image and crop it to its bucket; offset is the crop's relative (x, y), 0.5 is the center.

    Without an interpolation, area is used for reducing and lanczos for enlarging, as in kohya.
    """
    left = int((fit.resized[0] - fit.bucket[0]) * offset[0])
    top = int((fit.resized[1] - fit.bucket[1]) * offset[1])
    cut = (left, top, left + fit.bucket[0], top + fit.bucket[1])
    shrinks = image.width >= fit.resized[0] and image.height >= fit.resized[1]
    method = RESAMPLING[interpolation or ("area" if shrinks else "lanczos")]
    if math.prod(fit.resized) > STRIP * math.prod(fit.bucket):
        scale = image.width / fit.resized[0], image.height / fit.resized[1]
        box = (cut[0] * scale[0], cut[1] * scale[1], cut[2] * scale[0], cut[3] * scale[1])
        return image.resize(fit.bucket, method, box=box)
    return (image if image.size == fit.resized else image.resize(fit.resized, method)).crop(cut)


def to_pixels(image: Image.Image) -> Tensor:
    """RGB image -> (3, H, W) float32 in [-1, 1]."""
    return torch.from_numpy(np.asarray(image, dtype=np.float32) / 127.5 - 1).permute(2, 0, 1).contiguous()

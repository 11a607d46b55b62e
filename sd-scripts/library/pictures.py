"""Reading pictures as they come from cameras, phones and the web, and bringing them to a bucket's size.

Turned ones are set upright, 16-bit ones brought to 8, transparency laid on white, animations give their first frame.
"""

import math
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from library.buckets import Fit, Size
from library.errors import TrainerError

EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif")
RESAMPLING = {
    "lanczos": Image.Resampling.LANCZOS, "nearest": Image.Resampling.NEAREST, "bilinear": Image.Resampling.BILINEAR,
    "linear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC, "cubic": Image.Resampling.BICUBIC, "area": Image.Resampling.BOX,
}  # fmt: skip
SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations that swap width and height
ORIENTATION = 0x0112
STRIP = 8  # a picture this many times its bucket when resized is cut before that: it would fill the memory
DAMAGED = (OSError, ValueError, SyntaxError, RuntimeError, Image.DecompressionBombError)  # what Pillow's decoders raise, AVIF's the fourth


def list_pictures(folder: str) -> list[Path]:
    """Return a folder's pictures in the order of their names."""
    return sorted(path for path in Path(folder).iterdir() if path.suffix.lower() in EXTENSIONS and path.is_file())


def upright_size(path: Path) -> Size:
    """Return width and height as seen, without decoding; raises TrainerError for a file that is no picture."""
    try:
        with Image.open(path) as image:
            sideways = image.format != "TIFF" and image.getexif().get(ORIENTATION) in SIDEWAYS  # Pillow turns TIFFs itself
            return (image.height, image.width) if sideways else image.size
    except DAMAGED as error:
        raise _unreadable(path, error) from None


def read_picture(path: Path) -> Image.Image:
    """Return a picture upright in RGB; raises TrainerError naming it when it cannot be read whole."""
    try:
        with Image.open(path) as image:
            image.load()
            return _to_rgb(ImageOps.exif_transpose(image))
    except DAMAGED as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> TrainerError:
    if isinstance(error, UnidentifiedImageError):
        return TrainerError(f"{path} is not a picture; remove it or save it as a real .png or .jpg.")
    return TrainerError(f"{path} cannot be read as a picture ({error}); remove it or save it anew.")


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("I", "I;16", "I;16L", "I;16B", "F"):
        return Image.fromarray((np.asarray(image, dtype=np.float32) / 257).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def to_pixels(image: Image.Image, fit: Fit, interpolation: str, offset: tuple[float, float] = (0.5, 0.5)) -> Tensor:
    """Resize and cut a picture -> (3, H, W) float32 in [-1, 1]; offset says where the cut lies, 0.5 is the middle."""
    left = int((fit.resized[0] - fit.bucket[0]) * offset[0])
    top = int((fit.resized[1] - fit.bucket[1]) * offset[1])
    cut = (left, top, left + fit.bucket[0], top + fit.bucket[1])
    if math.prod(fit.resized) > STRIP * math.prod(fit.bucket):
        scale = image.width / fit.resized[0], image.height / fit.resized[1]
        image = image.resize(fit.bucket, RESAMPLING[interpolation], box=tuple(side * scale[place % 2] for place, side in enumerate(cut)))
    else:
        image = (image if image.size == fit.resized else image.resize(fit.resized, RESAMPLING[interpolation])).crop(cut)
    return torch.from_numpy(np.asarray(image, dtype=np.float32) / 127.5 - 1).permute(2, 0, 1).contiguous()

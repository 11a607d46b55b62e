"""Read images of cameras, phones and the web, and resize them to a bucket.

Images are rotated by EXIF, 16 bits are reduced to 8, and transparency is blended with white. Of an animation, the first frame is used. This
process never opens an image: a pool of processes with limits of memory and time does (`image_decoder`).
"""

import math
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fluxgym.contract.buckets import Fit, Size
from fluxgym.contract.dataset_rules import is_image_name
from fluxgym.contract.images.formats import MAX_PIXELS, UnusableImage
from fluxgym.contract.images.pool import ImagePool, ImageRequest, ImageResult, NoWorker, WorkerProgram
from library.errors import OnWarning, TrainerError

RESAMPLING = {
    "lanczos": Image.Resampling.LANCZOS, "nearest": Image.Resampling.NEAREST, "bilinear": Image.Resampling.BILINEAR,
    "linear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC, "cubic": Image.Resampling.BICUBIC, "area": Image.Resampling.BOX,
    "box": Image.Resampling.BOX,
}  # fmt: skip
MAX_HEAD_BYTES = 64 << 10
WORKER = WorkerProgram(
    module="library.data.image_decoder",
    folder=Path(__file__).parents[2],
    time_limit_s=300.0,
    max_reply_bytes=4 * MAX_PIXELS + MAX_HEAD_BYTES,
)
DECODERS_AT_ONCE = 4
DECODERS = ImagePool(DECODERS_AT_ONCE, WORKER)
STRIP = 8  # an image this many times larger than its bucket after resizing is cropped before, to limit memory


def list_images(folder: str, on_warning: OnWarning) -> list[Path]:
    """Return a folder's images in the order of their names; `on_warning` is called for each folder with an image's name.

    Raises:
        TrainerError: If an image is a broken link.
    """
    named = sorted(path for path in Path(folder).iterdir() if is_image_name(path.name))
    for path in named:
        if not path.exists():
            raise TrainerError(f"{path} is a link to a file that is missing; put the file back or remove the link.")
        if not path.is_file():
            on_warning(f"{path} is not a file; it is ignored")
    return [path for path in named if path.is_file()]


def upright_size(path: Path) -> Size:
    """Return width and height after EXIF rotation, without decoding.

    Raises:
        TrainerError: If the file is not an image.
    """
    found = _decode(path, "size")
    return found.width, found.height


def read_image(path: Path) -> Image.Image:
    """Return an upright RGB image.

    Raises:
        TrainerError: If it cannot be read completely; the message names it.
    """
    return _image("RGB", _decode(path, "rgb"))


def read_with_alpha(path: Path) -> tuple[Image.Image, Image.Image]:
    """Return an upright RGB image with its stored colors, and its alpha channel (L; white without one)."""
    image = _image("RGBA", _decode(path, "rgba"))
    return image.convert("RGB"), image.getchannel("A")


def _image(mode: str, decoded: ImageResult) -> Image.Image:
    return Image.frombytes(mode, (decoded.width, decoded.height), decoded.data)


def _decode(path: Path, action: str) -> ImageResult:
    try:
        return DECODERS.run(ImageRequest(action=action, path=str(path.absolute())))
    except UnusableImage as error:
        raise TrainerError(f"{path} {error}") from None
    except NoWorker as error:
        raise TrainerError(f"{path} cannot be read now ({error.error.strerror}); close other programs, then start again.") from None


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

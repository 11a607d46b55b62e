"""The process that decodes images for the trainer: upright, 8 bits, the first frame. Its loop is `fluxgym.contract.images.worker_protocol`.

It imports neither PyTorch nor anything else that is slow to load.
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from fluxgym.contract.images.reader import open_image, rgb_on_white
from fluxgym.contract.images.worker_protocol import Action, ImageReply, Reply, WorkerLimits, read_size, run_worker

LIMITS = WorkerLimits(decode_bytes=4 << 30, cpu_s=120, niceness=0)  # twice the app's, as the whole image is converted too


def read_rgb(path: Path) -> Reply:
    """Return an image's pixels as RGB, with transparency blended with white."""
    return _pixels(_to_rgb(_read_upright(path)))


def read_rgba(path: Path) -> Reply:
    """Return an image's pixels as RGBA with the colors that are stored; alpha is 255 without an alpha channel."""
    image = _read_upright(path)
    return _pixels((image if image.has_transparency_data else _to_rgb(image)).convert("RGBA"))


def _pixels(image: Image.Image) -> Reply:
    data = image.tobytes()
    return ImageReply(width=image.width, height=image.height, num_bytes=len(data)), data


def _read_upright(path: Path) -> Image.Image:
    with open_image(path, Image) as image:
        image.load()
        return ImageOps.exif_transpose(image)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("I", "I;16", "I;16L", "I;16B", "F"):
        return Image.fromarray((np.asarray(image, dtype=np.float32) / 257).clip(0, 255).astype(np.uint8)).convert("RGB")
    rgb: Image.Image = rgb_on_white(image, Image)
    return rgb


ACTIONS: dict[str, Action] = {
    "size": lambda path, _: (read_size(path, Image), b""),
    "rgb": lambda path, _: read_rgb(path),
    "rgba": lambda path, _: read_rgba(path),
}


if __name__ == "__main__":
    run_worker(ACTIONS, LIMITS)

"""The process that decodes images for the app: sizes, complete checks and thumbnails. Its loop is `fluxgym.contract.images.worker_protocol`."""

import io
from pathlib import Path

from PIL import Image, ImageOps

from fluxgym.contract.images.reader import open_image, rgb_on_white, size_as_seen
from fluxgym.contract.images.worker_protocol import Action, ImageReply, Reply, WorkerLimits, read_size, run_worker

# Measured with valid images of 12000x9000 pixels, the largest: a WebP takes 1.7 GB of address space, a progressive CMYK JPEG and an AVIF with
# alpha 1.25 GB, a thumbnail of an RGBA PNG or TIFF 0.9 GB, an RGB PNG or JPEG 0.4 GB. HEIC and JPEG XL of that size were not measured.
LIMITS = WorkerLimits(decode_bytes=2 << 30, cpu_s=60, niceness=10)
JPEG_QUALITY = 85
SMOOTH_MODES = ("L", "LA", "RGB", "RGBA", "CMYK", "YCbCr")  # those that Pillow reduces by averaging


def check(path: Path) -> Reply:
    """Decode an image completely and return its size."""
    with open_image(path, Image) as image:
        width, height = size_as_seen(image, Image)
        image.load()
        return ImageReply(width=width, height=height), b""


def make_thumbnail(path: Path, side: int) -> Reply:
    """Return an upright JPEG of an image, at most side pixels wide and high, as the trainer sees it: transparency is white."""
    with open_image(path, Image) as image:
        image.draft("RGB", (side * 2, side * 2))
        small = image if image.mode in SMOOTH_MODES else _to_smooth_mode(image)
        small.thumbnail((side, side))  # before anything is copied
        small = rgb_on_white(ImageOps.exif_transpose(small), Image)
        buffer = io.BytesIO()
        small.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return ImageReply(width=small.width, height=small.height, num_bytes=buffer.tell()), buffer.getvalue()


def brightest(path: Path, channel: str) -> Reply:
    """Return the largest value of the channel that is a mask for the trainer, as one byte: red, or alpha, which is 255 without one."""
    with open_image(path, Image) as image:
        image.load()
        if channel == "alpha":
            level = image.convert("RGBA").getchannel("A").getextrema()[1] if image.has_transparency_data else 255
        elif image.mode.startswith(("I", "F")):
            level = min(255, int(image.getextrema()[1] / 257))
        else:
            level = rgb_on_white(image, Image).getchannel("R").getextrema()[1]
        return ImageReply(width=image.width, height=image.height, num_bytes=1), bytes([level])


def _to_smooth_mode(image: Image.Image) -> Image.Image:
    """Return an image with 8 bits per channel and without a palette."""
    if image.mode.startswith(("I", "F")):
        return image.convert("F").point(lambda value: value * (1 / 257) + 0).convert("L")
    if image.mode == "1":
        return image.convert("L")
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


ACTIONS: dict[str, Action] = {
    "size": lambda path, _: (read_size(path, Image), b""),
    "check": lambda path, _: check(path),
    "thumbnail": make_thumbnail,
    "red": lambda path, _: brightest(path, "red"),
    "alpha": lambda path, _: brightest(path, "alpha"),
}


if __name__ == "__main__":
    run_worker(ACTIONS, LIMITS)

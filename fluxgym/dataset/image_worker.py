"""The process that decodes images for the app: it may run out of memory or time, or crash, without harm to the app.

It reads requests from its standard input, one JSON object per line, and writes a JSON line and that many bytes for each. It ends with its input.
"""

import io
import json
import os
import random
import resource
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from PIL import Image, ImageOps

from fluxgym.contract.image_formats import UnusableImage
from fluxgym.contract.image_reader import DECODER_ERRORS, open_image, size_as_seen

DECODE_BYTES = 2 << 30  # address space on top of the idle process
CPU_LIMIT_S = 60
NICENESS = 10
MAX_CPUS = 4  # decoders start a thread per CPU, and each thread takes address space
JPEG_QUALITY = 85
SMOOTH_MODES = ("L", "LA", "RGB", "RGBA", "CMYK", "YCbCr")  # those that Pillow reduces by averaging


@dataclass(frozen=True, kw_only=True)
class ImageReply:
    """The worker's reply: the image's size after EXIF rotation, or why the image is not read; is_exhausted is True if memory ran out."""

    width: int = 0
    height: int = 0
    num_bytes: int = 0
    refusal: str = ""
    is_exhausted: bool = False


def read_size(path: Path) -> tuple[ImageReply, bytes]:
    """Return an image's size from its header."""
    with open_image(path, Image) as image:
        width, height = size_as_seen(image, Image)
        return ImageReply(width=width, height=height), b""


def check(path: Path) -> tuple[ImageReply, bytes]:
    """Decode an image completely and return its size."""
    with open_image(path, Image) as image:
        width, height = size_as_seen(image, Image)
        image.load()
        return ImageReply(width=width, height=height), b""


def make_thumbnail(path: Path, side: int) -> tuple[ImageReply, bytes]:
    """Return an upright JPEG of an image, at most side pixels wide and high, as the trainer sees it: transparency is white."""
    with open_image(path, Image) as image:
        image.draft("RGB", (side * 2, side * 2))
        small = image if image.mode in SMOOTH_MODES else _to_smooth_mode(image)
        small.thumbnail((side, side))  # before anything is copied
        small = _to_rgb(ImageOps.exif_transpose(small))
        buffer = io.BytesIO()
        small.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return ImageReply(width=small.width, height=small.height, num_bytes=buffer.tell()), buffer.getvalue()


def _to_smooth_mode(image: Image.Image) -> Image.Image:
    """Return an image with 8 bits per channel and without a palette."""
    if image.mode.startswith(("I", "F")):
        return image.convert("F").point(lambda value: value * (1 / 257) + 0).convert("L")
    if image.mode == "1":
        return image.convert("L")
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def handle(action: Callable[[], tuple[ImageReply, bytes]]) -> tuple[ImageReply, bytes]:
    """Return the result of an action, or the reason why it failed."""
    try:
        return action()
    except UnusableImage as error:
        return ImageReply(refusal=str(error)), b""
    except MemoryError:
        refusal = f"needs more than {DECODE_BYTES >> 30} GiB of memory to decode; make it smaller."
        return ImageReply(refusal=refusal, is_exhausted=True), b""
    except OSError as error:
        return ImageReply(refusal=f"cannot be read as an image ({error.strerror or error}); save it again."), b""
    except DECODER_ERRORS as error:
        return ImageReply(refusal=f"cannot be read as an image ({error}); save it again."), b""


def limit_process() -> None:
    """Limit memory, write no files, let the trainings go first, and be the first to be killed if the machine's memory runs out."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    for limit, value in ((resource.RLIMIT_AS, used + DECODE_BYTES), (resource.RLIMIT_CORE, 0), (resource.RLIMIT_FSIZE, 0)):
        resource.setrlimit(limit, (value, value))
    os.nice(NICENESS)
    os.sched_setaffinity(0, choose_cpus(os.sched_getaffinity(0)))
    with suppress(OSError):  # only a preference
        Path("/proc/self/oom_score_adj").write_text("1000")


def choose_cpus(available: set[int]) -> set[int]:
    """Return at most MAX_CPUS of the available CPUs, chosen at random so that workers and trainings do not share the same ones."""
    return set(random.sample(sorted(available), min(len(available), MAX_CPUS)))


def _limit_cpu_time() -> None:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    resource.setrlimit(resource.RLIMIT_CPU, (int(usage.ru_utime + usage.ru_stime) + CPU_LIMIT_S, resource.RLIM_INFINITY))


def serve(requests: BinaryIO, replies: BinaryIO) -> None:
    """Process requests until the input ends."""
    for line in requests:
        request = json.loads(line)
        path, side = Path(request["path"]), int(request["side"])
        actions = {"size": partial(read_size, path), "check": partial(check, path), "thumbnail": partial(make_thumbnail, path, side)}
        _limit_cpu_time()
        reply, data = handle(actions[request["action"]])
        replies.write(json.dumps(asdict(reply)).encode() + b"\n" + data)
        replies.flush()


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # of damaged metadata
    limit_process()
    serve(sys.stdin.buffer, sys.stdout.buffer)

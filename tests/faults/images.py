"""Faults of images: damaged files of every format, bombs, files that are not images, and pipes, links and devices with an image's name."""

import os
import random
import signal
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from types import FrameType

import pillow_jxl  # noqa: F401 (adds JPEG XL to Pillow)
from PIL import Image
from skimage import data

from fluxgym.dataset.image_worker import LIMITS
from fluxgym.dataset.images import DECODERS, HEADERS, check_image, read_size, thumbnail
from fluxgym.errors import BadImage, DatasetError
from fluxgym.planning.plan import plan
from tests.faults.result import Result, try_each
from tests.support.image_files import (
    ENDLESS_POSTSCRIPT,
    HEIC,
    fake_ghostscript,
    huge_png,
    png_chunk,
    png_with,
    slow_jpeg,
    tiff_of_many_values,
    tiff_of_one_huge_tile,
)
from tests.support.photos import write_cats
from tests.support.small_installation import small_installation, state

MAX_GROWTH_MB = 100  # of this process, which never decodes
MAX_WORKER_MB = LIMITS.decode_bytes // 10**6 + 100  # what a worker may use, and its idle size
LIMIT_S = 120
FORMATS = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP", "gif": "GIF", "bmp": "BMP", "tif": "TIFF", "avif": "AVIF", "jxl": "JXL"}
READS: tuple[Callable[[Path], object], ...] = (read_size, check_image, lambda path: thumbnail(path, 64))


def read_all(path: Path) -> str:
    """Read an image as the app does; returns what is wrong, "" if each read worked or was refused in a sentence that names the file."""
    for read in READS:
        try:
            read(path)
        except BadImage as error:
            if wrong := _wrong_sentence(error, path):
                return wrong
    return ""


def _wrong_sentence(error: BadImage, path: Path) -> str:
    """Return the sentence of a refusal that does not name its file, or names an error number; "" for a good one."""
    return f"refused as {error}" if not str(error).startswith(path.name) or "Errno" in str(error) else ""


def damaged_images(folder: Path, count: int, seed: int) -> Result:
    """Flip, cut, insert and remove bytes of images of every format: each is read, or refused in one sentence."""
    photo = Image.fromarray(data.chelsea()).resize((90, 60))
    files = {"heic": HEIC}
    for extension, name in FORMATS.items():
        buffer = BytesIO()
        photo.save(buffer, name)
        files[extension] = buffer.getvalue()

    def attempt(number: int, dice: random.Random) -> str:
        extension = sorted(files)[number % len(files)]
        path = folder / f"damaged.{extension}"
        path.write_bytes(_damaged(files[extension], dice))
        lost = read_all(path)
        return f"{extension}: {lost}" if lost else ""

    return try_each(count, seed, attempt)


def _damaged(whole: bytes, dice: random.Random) -> bytes:
    """Return a file with up to 8 changes, most of them in its first 400 bytes, where the headers are."""
    changed = bytearray(whole)
    for _ in range(dice.randint(1, 8)):
        position = dice.randrange(len(changed) if dice.random() < 0.3 else min(400, len(changed)))
        match dice.randrange(5):
            case 0 | 1:
                changed[position] = dice.randrange(256)
            case 2:
                changed[position : position + 4] = struct.pack(">I", dice.choice((0, 1, 0x7FFFFFFF, 0xFFFFFFFF, dice.getrandbits(32))))
            case 3:
                changed[position:position] = dice.randbytes(dice.randint(1, 40))
            case _:
                del changed[position : position + dice.randint(1, 40)]
        if not changed:
            break
    return bytes(changed[: dice.randint(1, len(changed))] if changed and dice.random() < 0.2 else changed)


def image_bombs(folder: Path, count: int, seed: int) -> Result:
    """Read small files that claim or contain very much: workers keep their limit of memory, each file is read or refused in a sentence."""
    largest = 0

    def attempt(number: int, dice: random.Random) -> str:
        nonlocal largest
        kind = sorted(BOMBS)[number % len(BOMBS)]
        path = folder / f"bomb.{kind.partition(' ')[0]}"
        path.write_bytes(BOMBS[kind](dice))
        before = _megabytes("self", "VmRSS")
        lost = read_all(path)
        growth = _megabytes("self", "VmRSS") - before
        used = max(_megabytes(pid, "VmHWM") for pid in (DECODERS.pids() | HEADERS.pids()) or {0})
        largest = max(largest, used)
        is_bounded = growth <= MAX_GROWTH_MB and used <= MAX_WORKER_MB
        return "" if is_bounded and not lost else f"{kind}: {lost or f'{used} MB in a worker, {growth} MB here'}"

    result = try_each(count, seed, attempt)
    return Result(tried=result.tried, held=result.held, seed=seed, note=result.note or f"a worker took at most {largest} MB")


def _megabytes(pid: int | str, key: str) -> int:
    """Return a figure of /proc/PID/status in MB, 0 if the process has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{key}:")), 0) // 1000


def _claimed_png(dice: random.Random) -> bytes:
    header = struct.pack(">IIBBBBB", dice.randint(5_000, 2**31 - 1), dice.randint(5_000, 2**31 - 1), 8, 6, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(bytes(1000))) + png_chunk(b"IEND", b"")


def _text_png(dice: random.Random) -> bytes:
    packed = zlib.compress(bytes(dice.randint(50, 200) << 20), 1)
    name = dice.choice((b"zTXt", b"iCCP"))
    return png_with(png_chunk(name, b"comment\0\0" + packed), after_pixels=name == b"zTXt" and dice.random() < 0.5)


def _frames(dice: random.Random, name: str) -> bytes:
    frames = [Image.new("P" if name == "GIF" else "RGB", (64, 64), index % 256) for index in range(dice.randint(200, 1000))]
    buffer = BytesIO()
    frames[0].save(buffer, name, save_all=True, append_images=frames[1:])
    return buffer.getvalue()


def _claimed_gif(dice: random.Random) -> bytes:
    buffer = BytesIO()
    Image.new("P", (8, 8)).save(buffer, "GIF")
    return buffer.getvalue().replace(struct.pack("<HH", 8, 8), struct.pack("<HH", dice.randint(9_000, 65_535), dice.randint(9_000, 65_535)))


def _claimed_bmp(dice: random.Random) -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "BMP")
    whole = bytearray(buffer.getvalue())
    whole[18:26] = struct.pack("<ii", dice.randint(1, 2**31 - 1), dice.choice((-1, 1)) * dice.randint(1, 2**31 - 1))
    return bytes(whole)


def _flat_tiff(dice: random.Random) -> bytes:
    buffer = BytesIO()
    side = dice.randint(2_000, 10_300)
    Image.new("L", (side, side)).save(buffer, "TIFF", compression="tiff_adobe_deflate")
    return buffer.getvalue()


BOMBS: dict[str, Callable[[random.Random], bytes]] = {
    "png of many pixels": lambda dice: huge_png(dice.randint(5_000, 12_000), dice.randint(5_000, 10_000)),
    "png that claims many pixels": _claimed_png,
    "png with much text": _text_png,
    "gif of many frames": lambda dice: _frames(dice, "GIF"),
    "gif that claims many pixels": _claimed_gif,
    "webp of many frames": lambda dice: _frames(dice, "WEBP"),
    "bmp that claims many pixels": _claimed_bmp,
    "png of many pixels with alpha": lambda dice: huge_png(dice.randint(2_000, 8_000), dice.randint(2_000, 8_000), has_alpha=True),
    "tif of many pixels": _flat_tiff,
    "tif of one huge tile": lambda dice: tiff_of_one_huge_tile(dice.randint(10_000, 100_000)),
    "tif of many values": lambda dice: tiff_of_many_values(dice.randint(1_000_000, 30_000_000)),
    "jpg of many scans": lambda dice: slow_jpeg(dice.randint(100, 1000)),
}
NO_IMAGES = (
    ENDLESS_POSTSCRIPT, b"%PDF-1.7\n", b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", b"<!DOCTYPE html><script>1</script>",
    b"PK\x03\x04" + bytes(60), b"\x7fELF" + bytes(60), b"#!/bin/sh\ntouch /tmp/x\n", b"", b"version https://git-lfs.github.com/spec/v1\n",
    b"\xc5\xd0\xd3\xc6" + bytes(28) + ENDLESS_POSTSCRIPT, b"8BPS" + bytes(60), b"GIF89a", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBP",
)  # fmt: skip
MAKE_ODD: dict[str, Callable[[Path], object]] = {
    "pipe": os.mkfifo, "device": lambda path: path.symlink_to("/dev/zero"), "broken link": lambda path: path.symlink_to("/nowhere/x.png"),
    "link to itself": lambda path: path.symlink_to(path.name), "folder": lambda path: path.mkdir(),
}  # fmt: skip


def posing_files(folder: Path, count: int, seed: int) -> Result:
    """Give other files, pipes, links and devices an image's name: no program is started for them, nothing waits, a sentence names each."""
    started = fake_ghostscript(folder / "bin")
    world, images = small_installation(folder), write_cats(folder / "images", count=2, size=64)

    def attempt(number: int, dice: random.Random) -> str:
        path = images / f"posing{dice.choice(('.png', '.jpg', '.webp', '.gif', '.tif', '.JPEG', '.heic'))}"
        odd = dice.choice(sorted(MAKE_ODD)) if number % 2 else ""
        MAKE_ODD[odd](path) if odd else path.write_bytes(dice.choice(NO_IMAGES) + dice.randbytes(dice.randint(0, 20)))
        try:
            with time_limit():
                return (
                    _refused(path)
                    or _planned(lambda: plan(state(), images, world))
                    or ("a program was started" if started.exists() else "")
                )
        finally:
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()

    before = os.environ["PATH"]
    os.environ["PATH"] = f"{folder / 'bin'}:{before}"
    try:
        return try_each(count, seed, attempt)
    finally:
        os.environ["PATH"] = before


def _refused(path: Path) -> str:
    """Return "" if no read takes a file for an image."""
    for read in READS:
        try:
            read(path)
        except BadImage as error:
            if wrong := _wrong_sentence(error, path):
                return wrong
        else:
            return f"{path.name} was read"
    return ""


def _planned(make_plan: Callable[[], object]) -> str:
    """Return "" if a plan is made, or refused in a sentence."""
    try:
        make_plan()
    except DatasetError as error:
        return "" if "Errno" not in str(error) else f"refused as {error}"
    return ""


@contextmanager
def time_limit() -> Iterator[None]:
    """Raise TimeoutError if something takes more than LIMIT_S seconds, such as opening a pipe that nothing writes to."""

    def end(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"more than {LIMIT_S} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(LIMIT_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)

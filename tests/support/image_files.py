"""Image files that Pillow does not write: a phone's HEIC, huge images of few bytes, PNG files with odd chunks, and files that are not images."""

import base64
import io
import struct
import zlib
from pathlib import Path

from PIL import Image

# A crop of scikit-image's cat, 48x32 pixels, stored rotated as phones do: it is seen as 32x48.
HEIC = base64.b64decode(
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAchtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAAADRpbG9jAAAAAERAAAIAAQAAAAAB7A"
    "ABAAAAAAAAAMkAAgAAAAACtQABAAAAAAAAACQAAAA4aWluZgAAAAAAAgAAABVpbmZlAgAAAAABAABodmMxAAAAABVpbmZlAgAAAQACAABFeGlmAAAAAA5waXRtAAAAAAAB"
    "AAABB2lwcnAAAADmaXBjbwAAAHZodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQAqQgEBA3AAAAMAkAAAAwAAAw"
    "AeoCCBBZbq5Ka5uAhoMCAAAAMDIAAAAwAhYgABAAZEAcFzwIkAAAATY29scm5jbHgAAQANAAaAAAAAFGlzcGUAAAAAAAAAQAAAAEAAAAAoY2xhcAAAADAAAAABAAAAIAAA"
    "AAH////wAAAAAv///+AAAAACAAAAEHBpeGkAAAAAAwgICAAAAAlpcm90AwAAABlpcG1hAAAAAAAAAAEAAQaBAgMFhIYAAAAaaXJlZgAAAAAAAAAOY2RzYwACAAEAAQAAAP"
    "VtZGF0AAAAxSgBrxmAmO89YASbvmLe9FxZUqFlOkWtAoIavw0zjWe1lOonueSlmpSaMc7kAZRUoy6bjvYoTU1MFkWYWvMF77OKfc7BbI2ajEniWw2m210uuFjxa+LgIMvC"
    "lsTnDrHI8bJP/mmwJq1kRcNOjtaM9VCceyN+Qx5A9JNUM9XMCrDVM79nlPPdyTyKxDqY656nLOkzIK1QhtdBR0gH0ORWpZSvX+h+8/G1mJiojj2bC5yHFihXrgKYiEWosJ"
    "/9zDpugnrgq3Q8AAAABkV4aWYAAE1NACoAAAAIAAEBEgADAAAAAQAGAAAAAAAA"
)
HEIC_SIZE = (32, 48)
ENDLESS_POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n%%EndComments\n{ } loop\n"


def png_chunk(name: bytes, data: bytes) -> bytes:
    """Return a chunk of a PNG file."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def huge_png(width: int, height: int, *, exif: bytes = b"", has_alpha: bool = False) -> bytes:
    """Return a black PNG of any size in few bytes and little memory: grayscale, or RGBA."""
    packer = zlib.compressobj(9)
    row = bytes((4 if has_alpha else 1) * width + 1)
    pixels = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 6 if has_alpha else 0, 0, 0, 0))
    turned = png_chunk(b"eXIf", exif) if exif else b""
    return b"\x89PNG\r\n\x1a\n" + header + turned + png_chunk(b"IDAT", pixels) + png_chunk(b"IEND", b"")


def png_with(chunk: bytes, *, after_pixels: bool = False, size: tuple[int, int] = (90, 60)) -> bytes:
    """Return a PNG with one more chunk, before its pixels or after them."""
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize(size).save(buffer, "PNG")
    data = buffer.getvalue()
    start = data.index(b"IEND" if after_pixels else b"IDAT") - 4
    return data[:start] + chunk + data[start:]


def slow_jpeg(scans: int = 20_000, side: int = 2000) -> bytes:
    """Return a progressive JPEG whose last scan is repeated: a few megabytes that take minutes to decode."""
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((side, side)).save(buffer, "JPEG", progressive=True, quality=30)
    data = buffer.getvalue()
    start = data.rindex(b"\xff\xda")
    return data[:start] + data[start:-2] * scans + data[-2:]


def tiff(tags: list[tuple[int, int, int, int]], tail: bytes = b"") -> bytes:
    """Return a TIFF file with one directory of tags (number, type, count, value or offset); `tail` begins at the next byte."""
    entries = b"".join(struct.pack("<HHII", *tag) for tag in sorted(tags))
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + bytes(4) + tail


def tiff_of_one_huge_tile(side: int = 40_000) -> bytes:
    """Return a TIFF of 16x16 pixels in one tile that decodes to side x side."""
    tags = [(256, 3, 1, 16), (257, 3, 1, 16), (258, 3, 1, 8), (259, 3, 1, 8), (262, 3, 1, 1), (277, 3, 1, 1), (322, 4, 1, side),
            (323, 4, 1, side), (324, 4, 1, 0), (325, 4, 1, 0)]  # fmt: skip
    packed = zlib.compress(bytes(1 << 20), 9)
    start = len(tiff(tags))
    return tiff([*tags[:-2], (324, 4, 1, start), (325, 4, 1, len(packed))], packed)


def tiff_of_many_values(count: int = 30_000_000) -> bytes:
    """Return a TIFF of 16x16 pixels with a tag of so many values, each of which takes an object when the header is read."""
    tags = [(256, 3, 1, 16), (257, 3, 1, 16), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 0), (277, 3, 1, 1), (278, 3, 1, 16),
            (279, 4, 1, 256), (33550, 3, count, 0)]  # fmt: skip
    start = len(tiff(tags))
    placed = [(number, kind, size, {273: start, 33550: start + 256}.get(number, value)) for number, kind, size, value in tags]
    return tiff(placed, bytes(256) + b"\x39\x30" * count)


def exif_of(orientation: int) -> bytes:
    """Return EXIF data with an orientation only, as a PNG's eXIf chunk holds it."""
    return b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01" + struct.pack(">HH", orientation, 0) + bytes(4)


def fake_ghostscript(folder: Path) -> Path:
    """Write a program `gs` that leaves the file `started` beside it when it runs; returns that file's path."""
    folder.mkdir(parents=True, exist_ok=True)
    started = folder / "started"
    program = folder / "gs"
    program.write_text(f"#!/bin/sh\necho yes > '{started}'\n")
    program.chmod(0o755)
    return started

"""A PNG is decoded without its texts, with the same pixels and the same orientation."""

import io
import zlib

import numpy as np
import pytest
from PIL import Image

from fluxgym.contract.images import png_chunks
from fluxgym.contract.images.formats import UnusableImage
from fluxgym.contract.images.png_chunks import png_without_texts
from tests.support.image_files import exif_of, png_chunk, png_with

XMP = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
RAW_EXIF = b"\nexif\n  32\n" + (b"Exif\0\0" + exif_of(6)).hex().encode()


def opened(data):
    return Image.open(png_without_texts(io.BytesIO(data)), formats=["PNG"])


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "1", "I;16", "LA"])
def test_pixels_without_texts_are_same(mode, tmp_path):
    image = Image.effect_noise((300, 200), 90)
    image = Image.fromarray(np.asarray(image, np.uint16) * 257) if mode == "I;16" else image.convert(mode)
    image.save(tmp_path / "a.png", transparency=3 if mode == "P" else None)
    data = (tmp_path / "a.png").read_bytes()
    assert opened(data).tobytes() == image.tobytes()
    assert opened(data).info.get("transparency") == Image.open(tmp_path / "a.png").info.get("transparency")


@pytest.mark.parametrize(
    "chunk",
    [
        png_chunk(b"zTXt", b"parameters\0\0" + zlib.compress(b"x" * 1_600_000)),
        png_chunk(b"iTXt", b"workflow\0\1\0\0\0" + zlib.compress(b"y" * 70_000_000)),
        png_chunk(b"tEXt", b"prompt\0" + b"z" * 3_000_000),
        png_chunk(b"iCCP", b"profile\0\0" + zlib.compress(b"p" * 2_000_000)),
        png_chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(b"0" * 3_000_000)),
        png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(b" " * 3_000_000)),
        png_chunk(b"zTXt", b"Raw profile type exif\0\0not zlib"),
        png_chunk(b"eXIf", exif_of(6) + bytes(2_000_000)),
    ],
)
@pytest.mark.parametrize("after_pixels", [False, True])
def test_texts_of_any_length_do_not_prevent_reading(chunk, after_pixels):
    image = opened(png_with(chunk, after_pixels=after_pixels))
    assert image.size == (90, 60)
    assert image.tobytes() == opened(png_with(b"")).tobytes()


@pytest.mark.parametrize(
    "chunk",
    [
        png_chunk(b"eXIf", exif_of(6)),
        png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP),
        png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(XMP)),
        png_chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(RAW_EXIF)),
        png_chunk(b"tEXt", b"Raw profile type exif\0" + RAW_EXIF),
    ],
)
@pytest.mark.parametrize("after_pixels", [False, True])
def test_orientation_is_known_before_pixels_are_decoded(chunk, after_pixels, monkeypatch):
    image = opened(png_with(chunk, after_pixels=after_pixels))
    monkeypatch.setattr(Image.Image, "load", lambda *_: pytest.fail("decoded"))
    assert Image.Image.getexif(image).get(0x0112) == 6


def test_truncated_file_stays_truncated():
    whole = png_with(b"", size=(300, 200))
    for length in (8, 20, 40, len(whole) // 2):
        with pytest.raises((OSError, SyntaxError)):
            opened(whole[:length]).load()


def test_pixels_in_many_chunks_are_joined():
    data = png_with(b"", size=(300, 200))
    start = data.index(b"IDAT") - 4
    length = int.from_bytes(data[start : start + 4], "big")
    pixels = data[start + 8 : start + 8 + length]
    split = b"".join(png_chunk(b"IDAT", pixels[at : at + 7]) + png_chunk(b"tEXt", b"a\0b") for at in range(0, length, 7))
    assert opened(data[:start] + split + data[start + 12 + length :]).tobytes() == opened(data).tobytes()


def test_endless_chunks_are_refused(monkeypatch):
    monkeypatch.setattr(png_chunks, "MAX_CHUNKS", 100)
    with pytest.raises(UnusableImage, match="more than 100 chunks"):
        opened(png_with(png_chunk(b"tEXt", b"") * 200))

"""The one way to open an image: by content, within bounds, with the decoder of its format only."""

import os
import sys

import pytest
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from fluxgym.contract.images.formats import UnusableImage
from fluxgym.contract.images.reader import open_image, size_as_seen
from tests.support.image_files import (
    ENDLESS_POSTSCRIPT,
    HEIC,
    HEIC_SIZE,
    exif_of,
    fake_ghostscript,
    huge_png,
    png_chunk,
    png_with,
    tiff_of_one_huge_tile,
)


def read(path):
    with open_image(path, Image) as image:
        size = size_as_seen(image, Image)
        image.load()
    return size


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.eps"])
def test_postscript_is_refused_without_starting_ghostscript(name, tmp_path, monkeypatch):
    started = fake_ghostscript(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    (tmp_path / name).write_bytes(ENDLESS_POSTSCRIPT)
    with pytest.raises(UnusableImage, match="is a PostScript"):
        read(tmp_path / name)
    assert not started.exists()


def test_huge_image_is_refused_by_its_header(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(huge_png(10_400, 10_400))
    monkeypatch.setattr(Image.Image, "load", lambda *_: pytest.fail("decoded"))
    with pytest.raises(UnusableImage, match="10400x10400"):
        read(tmp_path / "a.png")


def test_huge_webp_and_jpeg_xl_are_refused_before_their_decoders_open_them(tmp_path, monkeypatch):
    (tmp_path / "a.webp").write_bytes(b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + (16_000).to_bytes(3, "little") * 2)
    (tmp_path / "a.jxl").write_bytes(b"\xff\x0a" + (3 << 1 | 99_999 << 3 | 1 << 33).to_bytes(16, "little"))
    monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("opened"))
    for name in ("a.webp", "a.jxl"):
        with pytest.raises(UnusableImage, match="make it smaller"):
            read(tmp_path / name)


def test_tiff_with_tile_of_more_pixels_than_image_may_have_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    (tmp_path / "a.tif").write_bytes(tiff_of_one_huge_tile(11_008))
    monkeypatch.setattr(TiffImageFile, "load", lambda *_: pytest.fail("decoded"))
    with pytest.raises(UnusableImage, match="tiles of 11008x11008 pixels, more than 108 million; save it again"):
        read(tmp_path / "a.tif")


def test_size_of_png_is_read_without_decoding(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(png_with(png_chunk(b"eXIf", exif_of(8)), after_pixels=True))
    (tmp_path / "b.png").write_bytes(png_with(b""))
    monkeypatch.setattr(Image.Image, "load", lambda *_: pytest.fail("decoded"))
    sizes = []
    for name in ("a.png", "b.png"):
        with open_image(tmp_path / name, Image) as image:
            sizes.append(size_as_seen(image, Image))
    assert sizes == [(60, 90), (90, 60)]


def test_heic_of_phone_is_read_upright(tmp_path):
    (tmp_path / "a.HEIC").write_bytes(HEIC)
    assert read(tmp_path / "a.HEIC") == HEIC_SIZE


@pytest.mark.parametrize(
    ("name", "plugin", "words"), [("a.jxl", "pillow_jxl", "requirements-images.txt"), ("a.heic", "pi_heif", "requirements.txt")]
)
def test_image_without_its_plugin_names_command(name, plugin, words, tmp_path, monkeypatch):
    content = HEIC if plugin == "pi_heif" else b"\xff\x0a" + (1 | 4 << 1 | 1 << 6).to_bytes(16, "little")
    (tmp_path / name).write_bytes(content)
    monkeypatch.setitem(sys.modules, plugin, None)
    with pytest.raises(UnusableImage, match=rf"python -m pip install -r {words}\. Or save it"):
        read(tmp_path / name)


def test_image_with_another_formats_extension_is_read(tmp_path):
    Image.new("RGB", (9, 7)).save(tmp_path / "a.webp")
    (tmp_path / "a.webp").rename(tmp_path / "a.png")
    assert read(tmp_path / "a.png") == (9, 7)


@pytest.mark.parametrize("kind", ["TGA", "PCX", "PPM", "ICO", "DDS", "SGI"])
def test_format_that_is_not_listed_is_refused(kind, tmp_path):
    Image.new("RGB", (16, 16)).save(tmp_path / "a", kind)
    (tmp_path / "a").rename(tmp_path / "a.png")
    with pytest.raises(UnusableImage, match="is not an image"):
        read(tmp_path / "a.png")


def test_pipe_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(OSError, match="not a regular file"):
        read(tmp_path / "a.png")

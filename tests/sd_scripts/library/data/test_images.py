"""Images as they come: turned, CMYK, 16 bits, transparent, animated; what cannot be read is named."""

import os
import zlib

import numpy as np
import pillow_jxl  # noqa: F401 (adds JPEG XL to Pillow)
import pytest
from PIL import Image
from skimage import data

from fluxgym.contract.buckets import Fit, cover
from library.data.images import list_images, read_image, read_with_alpha, resize_and_crop, to_pixels, upright_size
from library.errors import TrainerError, warn
from tests.support.image_files import ENDLESS_POSTSCRIPT, HEIC, HEIC_SIZE, fake_ghostscript, huge_png, png_chunk, png_with


@pytest.fixture(name="photo")
def fixture_photo():
    return Image.fromarray(data.chelsea()).resize((90, 60))


def test_images_with_exif_orientation_are_rotated(photo, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    photo.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "a.jpg", exif=exif, quality=95)
    assert upright_size(tmp_path / "a.jpg") == (90, 60)
    assert np.abs(np.asarray(read_image(tmp_path / "a.jpg"), int) - np.asarray(photo, int)).mean() < 6


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif"])
def test_reported_size_is_size_that_is_read(name, photo, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    photo.save(tmp_path / name, exif=exif)
    assert upright_size(tmp_path / name) == read_image(tmp_path / name).size == (60, 90)


@pytest.mark.parametrize("mode", ["CMYK", "L", "P", "RGBA", "I;16", "1"])
def test_every_mode_becomes_similar_rgb(mode, photo, tmp_path):
    if mode == "I;16":
        odd = Image.fromarray(np.asarray(photo.convert("L"), np.uint16) * 257)
    else:
        odd = photo.convert(mode)
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    odd.save(path)
    read = read_image(path)
    assert read.mode == "RGB"
    assert abs(np.asarray(read, int).mean() - np.asarray(photo, int).mean()) < 30


def test_transparency_is_composited_on_white(tmp_path):
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(tmp_path / "a.png")
    assert np.asarray(read_image(tmp_path / "a.png")).min() == 255


def test_alpha_channel_is_read_beside_colors_as_they_are_stored(tmp_path):
    Image.new("RGBA", (8, 8), (200, 10, 20, 50)).save(tmp_path / "a.png")
    image, alpha = read_with_alpha(tmp_path / "a.png")
    assert (image.getpixel((0, 0)), alpha.getpixel((0, 0))) == ((200, 10, 20), 50)
    Image.new("RGB", (8, 8)).save(tmp_path / "b.png")
    assert read_with_alpha(tmp_path / "b.png")[1].getextrema() == (255, 255)


def test_palette_may_have_transparent_color(tmp_path):
    image = Image.new("P", (8, 8), 1)
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.save(tmp_path / "a.png", transparency=1)
    assert np.asarray(read_image(tmp_path / "a.png")).min() == 255
    assert read_with_alpha(tmp_path / "a.png")[1].getextrema() == (0, 0)


def test_too_many_pixels_are_reported(tmp_path):
    (tmp_path / "huge.png").write_bytes(huge_png(10_400, 10_400))
    for read in (upright_size, read_image, read_with_alpha):
        with pytest.raises(TrainerError, match=r"huge\.png has 10400x10400 pixels, more than 108 million; make it smaller\."):
            read(tmp_path / "huge.png")


def test_postscript_is_refused_without_starting_ghostscript(tmp_path, monkeypatch):
    started = fake_ghostscript(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    (tmp_path / "a.png").write_bytes(ENDLESS_POSTSCRIPT)
    for read in (upright_size, read_image):
        with pytest.raises(TrainerError, match=r"a\.png is a PostScript \(EPS\) file, not an image"):
            read(tmp_path / "a.png")
    assert not started.exists()


def test_png_with_long_texts_is_read(tmp_path):
    text = png_chunk(b"zTXt", b"parameters\0\0" + zlib.compress(b"x" * 1_600_000))
    (tmp_path / "a.png").write_bytes(png_with(text))
    assert upright_size(tmp_path / "a.png") == read_image(tmp_path / "a.png").size == (90, 60)


def test_heic_of_phone_and_jpeg_xl_are_read(photo, tmp_path):
    (tmp_path / "a.HEIC").write_bytes(HEIC)
    photo.save(tmp_path / "b.jxl", quality=95)
    assert [path.name for path in list_images(str(tmp_path), warn)] == ["a.HEIC", "b.jxl"]
    assert upright_size(tmp_path / "a.HEIC") == read_image(tmp_path / "a.HEIC").size == HEIC_SIZE
    assert np.abs(np.asarray(read_image(tmp_path / "b.jxl"), int) - np.asarray(photo, int)).mean() < 6


def test_entries_that_are_not_files_are_reported_and_broken_link_is_refused(photo, tmp_path):
    photo.save(tmp_path / "a.png")
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    warnings = []
    assert [path.name for path in list_images(str(tmp_path), warnings.append)] == ["a.png"]
    assert warnings == [f"{tmp_path / name} is not a file; it is ignored" for name in ("folder.png", "pipe.png")]
    (tmp_path / "link.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(TrainerError, match=r"link\.png is a link to a file that is missing"):
        list_images(str(tmp_path), warn)


@pytest.mark.parametrize(("target", "method"), [((32, 32), "area"), ((256, 256), "lanczos")])
def test_downscaling_uses_area_and_upscaling_lanczos(target, method, photo):
    fit = cover(photo.size, target)
    reference = photo.resize(fit.resized, {"area": Image.Resampling.BOX, "lanczos": Image.Resampling.LANCZOS}[method])
    left = (fit.resized[0] - target[0]) // 2
    assert resize_and_crop(photo, fit) == reference.crop((left, 0, left + target[0], target[1]))


def test_first_frame_of_animation_is_read(tmp_path):
    Image.new("RGB", (8, 8), "red").save(tmp_path / "a.gif", save_all=True, append_images=[Image.new("RGB", (8, 8), "blue")])
    assert read_image(tmp_path / "a.gif").getpixel((0, 0)) == (255, 0, 0)


def test_file_that_is_not_image_is_reported(photo, tmp_path):
    (tmp_path / "text.png").write_text("I am not an image")
    photo.save(tmp_path / "whole.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:500])
    for name in ("text.png", "cut.jpg"):
        with pytest.raises(TrainerError, match=name):
            read_image(tmp_path / name)
    assert [path.name for path in list_images(str(tmp_path), warn)] == ["cut.jpg", "text.png", "whole.jpg"]


@pytest.mark.parametrize("name", ["a.tif", "a.png", "a.webp", "a.jpg", "a.avif", "a.gif", "a.bmp"])
def test_damaged_image_is_read_or_reported(name, photo, tmp_path):
    photo.save(tmp_path / name)
    whole, random = (tmp_path / name).read_bytes(), np.random.default_rng(5)
    for _ in range(150):
        damaged = bytearray(whole)
        for position in random.integers(8, min(400, len(whole)), 6):
            damaged[position] = random.integers(256)
        (tmp_path / name).write_bytes(damaged)
        try:
            if np.prod(upright_size(tmp_path / name)) < 1e6:
                read_image(tmp_path / name)
        except TrainerError as error:
            assert name in str(error)


def test_extreme_aspect_ratio_is_cropped_before_resizing(photo, monkeypatch):
    for strip in (photo.resize((900, 60)), photo.resize((90, 900))):
        fit = cover(strip.size, (32, 32))
        cut_first = to_pixels(resize_and_crop(strip, fit, "lanczos", (0.5, 0.25)))
        with monkeypatch.context() as patched:
            patched.setattr("library.data.images.STRIP", 1e9)
            assert (cut_first - to_pixels(resize_and_crop(strip, fit, "lanczos", (0.5, 0.25)))).abs().max() < 0.02
    sizes, resize = [], Image.Image.resize
    monkeypatch.setattr(Image.Image, "resize", lambda self, size, *rest, **box: sizes.append(size) or resize(self, size, *rest, **box))
    resize_and_crop(Image.new("RGB", (20000, 10)), cover((20000, 10), (512, 512)))
    assert sizes == [(512, 512)]


def test_crop_is_centered_and_moved_by_offsets(photo):
    pixels = to_pixels(resize_and_crop(photo, cover((90, 60), (32, 32)), "lanczos"))
    assert pixels.shape == (3, 32, 32)
    assert -1 <= pixels.min() < pixels.max() <= 1
    stripes = Image.fromarray(np.repeat(np.arange(90, dtype=np.uint8)[None, :, None], 60, 0).repeat(3, 2))
    fit = Fit((60, 60), (90, 60))
    assert to_pixels(resize_and_crop(stripes, fit, "lanczos"))[0, 0, 0] == pytest.approx(15 / 127.5 - 1)
    assert to_pixels(resize_and_crop(stripes, fit, "lanczos", (1.0, 0.5)))[0, 0, 0] == pytest.approx(30 / 127.5 - 1)

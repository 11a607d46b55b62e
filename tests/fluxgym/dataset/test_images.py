"""The size and orientation that the page reports for an image are what the trainer reads."""

import io

import numpy as np
import pytest
from PIL import Image
from skimage import data

from fluxgym.dataset import images
from fluxgym.dataset.images import ImageSize, check_image, num_pixels, read_size, thumbnail
from fluxgym.errors import BadImage
from library.data.images import upright_size


@pytest.fixture(name="photo")
def fixture_photo():
    return Image.fromarray(data.chelsea()).resize((90, 60))


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif"])
def test_rotated_image_has_its_upright_size(name, photo, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    photo.save(tmp_path / name, exif=exif)
    for info in (check_image(tmp_path / name), read_size(tmp_path / name)):
        assert (info.width, info.height) == upright_size(tmp_path / name) == (60, 90)
    with Image.open(io.BytesIO(thumbnail(tmp_path / name, 30))) as small:
        assert small.size == (20, 30)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.avif", "a.tif"])
def test_damaged_image_is_read_or_named(name, photo, tmp_path):
    photo.save(tmp_path / name)
    whole, random = (tmp_path / name).read_bytes(), np.random.default_rng(5)
    for _ in range(150):
        damaged = bytearray(whole)
        for position in random.integers(8, min(400, len(whole)), 6):
            damaged[position] = random.integers(256)
        (tmp_path / name).write_bytes(damaged)
        try:
            info = read_size(tmp_path / name)
            if info.width * info.height < 1e6:
                check_image(tmp_path / name)
                thumbnail(tmp_path / name, 30)
        except BadImage as error:
            assert name in str(error)


def test_image_too_large_to_decode_is_named_without_decoding(tmp_path, monkeypatch):
    Image.new("RGB", (200, 200)).save(tmp_path / "large.png")
    monkeypatch.setattr(images, "MAX_BYTES", 100_000)
    with pytest.raises(BadImage, match=r"large\.png"):
        check_image(tmp_path / "large.png")
    with pytest.raises(BadImage, match=r"large\.png"):
        thumbnail(tmp_path / "large.png", 30)


def test_thumbnail_is_made_once_and_again_when_the_file_changes(tmp_path):
    Image.new("RGB", (60, 40), "red").save(tmp_path / "a.png")
    first = thumbnail(tmp_path / "a.png", 30)
    assert thumbnail(tmp_path / "a.png", 30) is first
    Image.new("RGB", (40, 60), "blue").save(tmp_path / "a.png")
    with Image.open(io.BytesIO(thumbnail(tmp_path / "a.png", 30))) as small:
        assert small.size == (20, 30)


def test_file_that_is_not_an_image_is_named(tmp_path):
    (tmp_path / "text.png").write_text("I am not an image")
    with pytest.raises(BadImage, match=r"text\.png is not an image"):
        check_image(tmp_path / "text.png")


def test_pixel_count_is_read_from_the_header_only(tmp_path):
    Image.new("L", (300, 200)).save(tmp_path / "a.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "a.png").read_bytes()[:45])
    assert num_pixels(tmp_path / "cut.png") == 60_000
    (tmp_path / "text.png").write_text("no")
    with pytest.raises(BadImage, match=r"text\.png"):
        num_pixels(tmp_path / "text.png")


def test_image_size_is_read_once_and_again_when_the_file_changes(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    Image.new("RGB", (8, 6)).save(path)
    assert check_image(path) == read_size(path) == ImageSize(8, 6)
    path.rename(tmp_path / "b.png")
    opened = []
    real = Image.open
    monkeypatch.setattr(Image, "open", lambda *args, **more: opened.append(args) or real(*args, **more))
    assert read_size(tmp_path / "b.png") == ImageSize(8, 6)
    assert not opened
    Image.new("RGB", (10, 6)).save(tmp_path / "b.png")
    assert read_size(tmp_path / "b.png") == ImageSize(10, 6)
    assert opened

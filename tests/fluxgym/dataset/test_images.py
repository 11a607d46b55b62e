"""The size and orientation that the page reports for an image are what the trainer reads."""

import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pillow_jxl  # noqa: F401 (adds JPEG XL to Pillow)
import pytest
from PIL import Image
from skimage import data

from fluxgym.contract.images.pool import ImagePool
from fluxgym.dataset.images import DECODERS, HEADERS, ImageSize, check_image, read_size, thumbnail
from fluxgym.errors import BadImage
from library.data.images import read_image, upright_size
from tests.support.image_files import ENDLESS_POSTSCRIPT, HEIC, HEIC_SIZE, fake_ghostscript, huge_png

ROOT = Path(__file__).parents[3]
# Checks the images of a folder and makes thumbnails, 24 requests at a time; prints the growth of the peak memory in kB, and the counts.
BURST = """
import sys, threading
from pathlib import Path
from fluxgym.dataset.images import check_image, thumbnail
from fluxgym.errors import BadImage

def peak():
    return int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))

results = []

def attempt(action):
    try:
        action()
        results.append(True)
    except BadImage:
        results.append(False)

folder, large = Path(sys.argv[1]), Path(sys.argv[1], "10400.png")
attempt(lambda: check_image(folder / "0.png"))
before, _ = peak(), results.clear()
actions = [action for i in range(6) for action in (lambda i=i: check_image(folder / f"{i}.png"), lambda i=i: thumbnail(folder / f"{i}.png", 320))]
actions += [lambda: check_image(large), lambda: thumbnail(large, 320)] * 6
threads = [threading.Thread(target=attempt, args=(action,)) for action in actions]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(peak() - before, sum(results), len(results) - sum(results))
"""


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


def test_image_too_large_to_decode_is_reported_by_its_header(tmp_path):
    (tmp_path / "large.png").write_bytes(huge_png(10_400, 10_400))
    for read in (check_image, read_size, lambda path: thumbnail(path, 30)):
        with pytest.raises(BadImage, match=r"^large\.png has 10400x10400 pixels, more than 108 million; make it smaller\.$"):
            read(tmp_path / "large.png")


def test_thumbnail_is_made_once_and_again_when_file_changes(tmp_path):
    Image.new("RGB", (60, 40), "red").save(tmp_path / "a.png")
    first = thumbnail(tmp_path / "a.png", 30)
    assert thumbnail(tmp_path / "a.png", 30) is first
    Image.new("RGB", (40, 60), "blue").save(tmp_path / "a.png")
    with Image.open(io.BytesIO(thumbnail(tmp_path / "a.png", 30))) as small:
        assert small.size == (20, 30)


def test_file_that_is_not_image_is_reported(tmp_path):
    (tmp_path / "text.png").write_text("I am not an image")
    with pytest.raises(BadImage, match=r"text\.png is not an image"):
        check_image(tmp_path / "text.png")


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_postscript_is_refused_without_starting_ghostscript(name, tmp_path, monkeypatch):
    started = fake_ghostscript(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    (tmp_path / name).write_bytes(ENDLESS_POSTSCRIPT)
    for read in (check_image, read_size, lambda path: thumbnail(path, 30)):
        with pytest.raises(BadImage, match=rf"^{name} is a PostScript \(EPS\) file, not an image"):
            read(tmp_path / name)
    assert not started.exists()


def test_images_of_every_mode_are_read_as_in_trainer(photo, tmp_path):
    """What passed before image files were recognized by their content: modes, animations, two-lens photos, strips, and more."""
    gray = np.asarray(photo.convert("L"), np.uint16) * 257
    kinds = {
        "cmyk.jpg": photo.convert("CMYK"), "gray.png": photo.convert("L"), "gray16.png": Image.fromarray(gray), "gray16.tif": Image.fromarray(gray),
        "alpha.png": photo.convert("RGBA"), "palette.png": photo.convert("P"), "bits.png": photo.convert("1"), "one.avif": photo, "one.webp": photo,
        "one.bmp": photo, "one.gif": photo, "one.tif": photo, "one.jxl": photo, "tiny.png": photo.resize((1, 1)), "strip.png": photo.resize((4000, 2)),
    }  # fmt: skip
    for name, image in kinds.items():
        image.save(tmp_path / name)
    frames = [photo.rotate(180), photo.rotate(90)]
    for name in ("many.gif", "many.webp", "many.png", "many.avif", "many.tif"):
        photo.save(tmp_path / name, save_all=True, append_images=frames)
    photo.save(tmp_path / "two.jpg", "MPO", save_all=True, append_images=frames)
    (tmp_path / "phone.heic").write_bytes(HEIC)
    sizes = {path.name: read_size(path) for path in sorted(tmp_path.iterdir())}
    assert len(sizes) == 22
    for name, size in sizes.items():
        assert (name, size) == (name, check_image(tmp_path / name)) == (name, upright_size(tmp_path / name)), name
        image = read_image(tmp_path / name)
        assert (name, image.size, image.mode) == (name, size, "RGB")
        with Image.open(io.BytesIO(thumbnail(tmp_path / name, 32))) as small:
            difference = np.asarray(small, int) - np.asarray(image.resize(small.size, Image.Resampling.BOX), int)
            assert np.abs(difference).mean() < 24, name
    assert sizes["phone.heic"] == HEIC_SIZE


def test_process_of_app_keeps_its_memory_while_many_large_images_arrive(tmp_path):
    for index in range(6):
        (tmp_path / f"{index}.png").write_bytes(huge_png(6000, 6000 + index))
    (tmp_path / "10400.png").write_bytes(huge_png(10_400, 10_400))
    done = subprocess.run([sys.executable, "-c", BURST, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True)
    growth_kb, checked, refused = map(int, done.stdout.split())
    assert (checked, refused) == (12, 12)
    assert growth_kb < 20_000  # each of the images takes 36 MB decoded


def test_image_size_is_read_once_and_again_when_file_changes(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    Image.new("RGB", (8, 6)).save(path)
    assert check_image(path) == read_size(path) == ImageSize(8, 6)
    path.rename(tmp_path / "b.png")
    requests = []
    real = ImagePool.run
    monkeypatch.setattr(ImagePool, "run", lambda *args: requests.append(args) or real(*args))
    assert read_size(tmp_path / "b.png") == ImageSize(8, 6)
    assert not requests
    Image.new("RGB", (10, 6)).save(tmp_path / "b.png")
    assert read_size(tmp_path / "b.png") == ImageSize(10, 6)
    assert requests


def test_sizes_do_not_wait_for_images_that_are_decoded(photo, tmp_path):
    photo.save(tmp_path / "a.png")
    check_image(tmp_path / "a.png")
    pids = DECODERS.pids()
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        assert read_size(tmp_path / "a.png") == ImageSize(90, 60)
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    assert pids and not pids & HEADERS.pids()

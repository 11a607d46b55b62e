"""Whatever an image file holds, the trainer's own process keeps its memory, and one sentence names the file."""

import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fluxgym.dataset.images import check_image
from library.data.image_worker import read_rgb, read_rgba
from library.data.images import read_image, read_with_alpha, upright_size
from tests.support.image_files import exif_of, huge_png, png_chunk, png_with, tiff_of_many_values, tiff_of_one_huge_tile

SD_SCRIPTS = Path(__file__).parents[4] / "sd-scripts"
FRAMES = 2000
# Reads a file in a process as the trainer does; prints the growth of its peak memory in kB, and the image's size or the error.
READ = """
import sys
from pathlib import Path
from library.data.images import read_image, upright_size
from library.errors import TrainerError

def peak():
    return int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))

before = peak()
try:
    upright_size(Path(sys.argv[1]))
    found = str(read_image(Path(sys.argv[1])).size)
except TrainerError as error:
    found = str(error)
print(peak() - before)
print(found)
"""


def animation(path: Path) -> None:
    first, *others = [Image.new("L", (16, 16), index % 256) for index in range(FRAMES)]
    first.save(path, save_all=True, append_images=others)


def packed(num_bytes: int) -> bytes:
    return zlib.compress(bytes(num_bytes), 9)


FILES = {
    "tile.tif": (lambda path: path.write_bytes(tiff_of_one_huge_tile()), "tile.tif"),
    "values.tif": (lambda path: path.write_bytes(tiff_of_many_values()), "(16, 16)"),
    "frames.gif": (animation, "(16, 16)"),
    "frames.webp": (animation, "(16, 16)"),
    "profile.png": (lambda path: path.write_bytes(png_with(png_chunk(b"iCCP", b"x\0\0" + packed(200 << 20)))), "(90, 60)"),
    "text.png": (lambda path: path.write_bytes(png_with(png_chunk(b"zTXt", b"x\0\0" + packed(200 << 20)))), "(90, 60)"),
    "pixels.png": (lambda path: path.write_bytes(huge_png(30_000, 30_000)), "30000x30000 pixels, more than 108 million"),
    "cut.png": (lambda path: path.write_bytes(huge_png(6000, 6000)[:-2000]), "cut.png cannot be read as an image"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_file_that_expands_leaves_trainer_small_and_is_read_or_named(name, tmp_path):
    make, words = FILES[name]
    make(tmp_path / name)
    done = subprocess.run([sys.executable, "-c", READ, str(tmp_path / name)], cwd=SD_SCRIPTS, capture_output=True, text=True, check=True)
    growth_kb, found = done.stdout.strip().split("\n")
    assert words in found
    assert int(growth_kb) < 10_000


@pytest.mark.parametrize("mode", ["CMYK", "L", "P", "RGB", "RGBA", "I;16", "1"])
def test_pixels_of_every_mode_have_their_size(mode, tmp_path):
    image = Image.fromarray(np.full((20, 40), 128 * 257, np.uint16)) if mode == "I;16" else Image.new("RGB", (40, 20)).convert(mode)
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    image.save(path)
    for read, channels in ((read_rgb, 3), (read_rgba, 4)):
        reply, data = read(path)
        assert (reply.width, reply.height, reply.num_bytes, len(data)) == (40, 20, 800 * channels, 800 * channels)


@pytest.mark.slow
def test_largest_image_that_app_takes_is_converted_within_limits(tmp_path):
    (tmp_path / "a.png").write_bytes(huge_png(12_000, 9_000, exif=exif_of(8), has_alpha=True))
    assert check_image(tmp_path / "a.png") == upright_size(tmp_path / "a.png") == (9_000, 12_000)
    assert read_image(tmp_path / "a.png").size == (9_000, 12_000)
    assert read_with_alpha(tmp_path / "a.png")[1].size == (9_000, 12_000)

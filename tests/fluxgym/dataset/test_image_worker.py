"""The worker decodes within its limits, and answers with one sentence where it cannot."""

import io
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from fluxgym.dataset.image_worker import MAX_CPUS, choose_cpus, handle, make_thumbnail
from tests.support.image_files import huge_png


def worker(code: str, *requests: dict) -> list[dict]:
    """Return the replies of a worker whose module is prepared by code."""
    program = f"import sys; from fluxgym.dataset import image_worker as worker; {code}; worker.limit_process(); " + (
        "worker.serve(sys.stdin.buffer, sys.stdout.buffer)"
    )
    lines = "".join(json.dumps({"side": 0} | request) + "\n" for request in requests)
    done = subprocess.run([sys.executable, "-c", program], input=lines.encode(), capture_output=True, check=False)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_image_that_needs_too_much_memory_is_refused_and_the_worker_says_so(tmp_path):
    (tmp_path / "a.png").write_bytes(huge_png(9000, 9000))
    Image.new("L", (20, 10)).save(tmp_path / "b.png")
    large, small = worker(
        "worker.DECODE_BYTES = 60 << 20",
        {"action": "check", "path": str(tmp_path / "a.png")},
        {"action": "check", "path": str(tmp_path / "b.png")},
    )
    assert large["is_exhausted"]
    assert "of memory to decode; make it smaller." in large["refusal"]
    assert (small["width"], small["height"], small["refusal"]) == (20, 10, "")


def test_worker_cannot_write_files(tmp_path):
    code = f"worker.limit_process(); worker.Path({str(tmp_path / 'x')!r}).write_text('a')"
    program = f"from fluxgym.dataset import image_worker as worker; {code}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "File too large" in done.stderr
    assert (tmp_path / "x").read_bytes() == b""


def test_thumbnail_of_every_mode_is_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    for mode in ("L", "P", "1", "RGBA", "I;16"):
        image = Image.fromarray(np.zeros((200, 400), np.uint16)) if mode == "I;16" else Image.new("RGB", (400, 200)).convert(mode)
        image.save(tmp_path / "a.png", exif=exif)
        reply, _ = make_thumbnail(tmp_path / "a.png", 20)
        assert (mode, reply.width, reply.height) == (mode, 10, 20)


@pytest.mark.parametrize("mode", ["I;16", "RGBA", "CMYK", "P", "1"])
def test_thumbnail_looks_like_what_is_trained_on(mode, tmp_path):
    gray = Image.new("L", (40, 20), 128)
    image = {
        "I;16": Image.fromarray(np.full((20, 40), 128 * 257, np.uint16)), "RGBA": Image.new("RGBA", (40, 20), (0, 0, 0, 127)),
        "1": gray.convert("1"), "P": gray.convert("P"), "CMYK": Image.new("CMYK", (40, 20), (127, 127, 127, 0)),
    }[mode]  # fmt: skip
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    image.save(path)
    reply, data = make_thumbnail(path, 10)
    with Image.open(io.BytesIO(data)) as small:
        assert (reply.width, reply.height, len(data)) == (*small.size, reply.num_bytes) == (10, 5, reply.num_bytes)
        assert abs(np.asarray(small.convert("L"), int).mean() - 128) < 12


@pytest.mark.parametrize("count", [1, 2, 4, 128])
def test_worker_uses_few_of_many_cpus(count):
    available = set(range(3, 3 + count))
    chosen = choose_cpus(available)
    assert chosen <= available
    assert len(chosen) == min(count, MAX_CPUS)


def test_error_of_the_file_system_is_named(tmp_path):
    reply, data = handle(lambda: make_thumbnail(tmp_path / "missing.png", 10))
    assert (reply.refusal, data) == ("cannot be read as an image (No such file or directory); save it again.", b"")

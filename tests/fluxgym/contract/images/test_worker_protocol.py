"""A worker decodes within its limits, and otherwise replies with one error message."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from fluxgym.contract.images.worker_protocol import MAX_CPUS, choose_cpus, handle, read_size
from tests.support.image_files import huge_png, slow_jpeg

ROOT = Path(__file__).parents[4]
PROGRAM = """
from dataclasses import replace
from fluxgym.contract.images.worker_protocol import run_worker
from {module} import ACTIONS, LIMITS
run_worker(ACTIONS, replace(LIMITS, {limits}))
"""


def worker(limits: str, *paths: Path, module: str = "fluxgym.dataset.image_worker", action: str = "check") -> list[dict]:
    """Return the replies of a worker with other limits."""
    lines = "".join(json.dumps({"action": action, "path": str(path), "side": 0}) + "\n" for path in paths)
    program = PROGRAM.format(module=module, limits=limits)
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'sd-scripts'}"}
    done = subprocess.run([sys.executable, "-c", program], input=lines.encode(), env=environment, capture_output=True, check=False)
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith(b"{")]


def test_image_that_needs_too_much_memory_is_refused_and_worker_is_marked_exhausted(tmp_path):
    (tmp_path / "a.png").write_bytes(huge_png(9000, 9000))
    Image.new("L", (20, 10)).save(tmp_path / "b.png")
    large, small = worker("decode_bytes=60 << 20", tmp_path / "a.png", tmp_path / "b.png")
    assert large["is_exhausted"]
    assert "of memory to decode; make it smaller." in large["refusal"]
    assert (small["width"], small["height"], small["refusal"]) == (20, 10, "")


@pytest.mark.parametrize(("module", "action"), [("fluxgym.dataset.image_worker", "check"), ("library.data.image_decoder", "rgb")])
def test_image_that_takes_too_long_ends_worker_of_app_and_trainer(module, action, tmp_path):
    (tmp_path / "a.jpg").write_bytes(slow_jpeg())
    Image.new("L", (20, 10)).save(tmp_path / "b.png")
    files = [tmp_path / name for name in ("b.png", "a.jpg", "b.png")]
    (reply,) = worker("cpu_s=1", *files, module=module, action=action)
    assert reply["width"] == 20


def test_worker_cannot_write_files(tmp_path):
    imports = "from pathlib import Path; from fluxgym.contract.images.worker_protocol import limit_process"
    code = f"limit_process(LIMITS); Path({str(tmp_path / 'x')!r}).write_text('a')"
    program = f"{imports}; from fluxgym.dataset.image_worker import LIMITS; {code}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "File too large" in done.stderr
    assert (tmp_path / "x").read_bytes() == b""


@pytest.mark.parametrize("count", [1, 2, 4, 128])
def test_worker_uses_few_of_many_cpus(count):
    available = set(range(3, 3 + count))
    chosen = choose_cpus(available)
    assert chosen <= available
    assert len(chosen) == min(count, MAX_CPUS)


def test_error_of_file_system_is_reported(tmp_path):
    reply, data = handle(lambda: (read_size(tmp_path / "missing.png", Image), b""), 1 << 30)
    assert (reply.refusal, data) == ("cannot be read as an image (No such file or directory); save it again.", b"")

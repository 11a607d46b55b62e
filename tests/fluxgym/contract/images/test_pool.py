"""The pool survives workers that die, hang or crash; its workers end when they are idle."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from fluxgym.contract.images.formats import UnusableImage
from fluxgym.contract.images.pool import ImagePool, ImageRequest, NoWorker
from fluxgym.dataset.images import WORKER


@pytest.fixture(name="request_of_photo")
def fixture_request_of_photo(tmp_path):
    Image.new("L", (20, 10)).save(tmp_path / "a.png")
    return ImageRequest(action="check", path=str(tmp_path / "a.png"))


def wait_until(condition: Callable[[], bool]) -> None:
    """Return when a condition is met; fails after a minute."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def kill_during(pool: ImagePool, request: ImageRequest, number: int) -> str:
    """Send a signal to the frozen worker of a request, and return the request's error."""
    pool.run(request)
    (pid,) = pool.pids()
    os.kill(pid, signal.SIGSTOP)
    errors: list[str] = []

    def run() -> None:
        with pytest.raises(UnusableImage) as error:
            pool.run(request)
        errors.append(str(error.value))

    thread = threading.Thread(target=run)
    thread.start()
    wait_until(lambda: pool.pids(busy_only=True) == {pid})
    os.kill(pid, number)
    os.kill(pid, signal.SIGCONT)
    thread.join()
    return errors[0]


@pytest.mark.parametrize(
    ("number", "words"),
    [(signal.SIGKILL, "memory ran out"), (signal.SIGSEGV, "crash"), (signal.SIGABRT, "crash"), (signal.SIGXCPU, "too long")],
)
def test_worker_crash_is_reported_as_unusable_image(number, words, request_of_photo):
    pool = ImagePool(1, WORKER)
    assert words in kill_during(pool, request_of_photo, number)
    assert pool.pids() == set()
    assert pool.run(request_of_photo).width == 20


def test_worker_that_dies_while_idle_is_replaced(request_of_photo):
    pool = ImagePool(1, WORKER)
    pool.run(request_of_photo)
    (pid,) = pool.pids()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: "Z" in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2][:3])
    assert pool.run(request_of_photo).width == 20


def test_request_that_takes_too_long_is_refused_and_its_worker_killed(request_of_photo):
    pool = ImagePool(1, WORKER)
    pool.run(request_of_photo)
    (pid,) = pool.pids()
    os.kill(pid, signal.SIGSTOP)
    pool.time_limit_s = 0.1
    with pytest.raises(UnusableImage, match="took more than 0 seconds"):
        pool.run(request_of_photo)
    assert pool.pids() == set()
    assert not Path(f"/proc/{pid}").exists()


def test_worker_starts_on_demand_and_ends_when_idle(request_of_photo):
    pool = ImagePool(2, WORKER, idle_s=0.05)
    assert pool.pids() == set()
    for _ in range(2):
        assert pool.run(request_of_photo).width == 20
        wait_until(lambda: not pool.pids())


def test_requests_share_at_most_size_workers(request_of_photo):
    pool = ImagePool(2, WORKER)
    pids: set[int] = set()
    threads = [threading.Thread(target=lambda: (pool.run(request_of_photo), pids.update(pool.pids()))) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 1 <= len(pids) <= 2


def test_worker_has_neither_paths_of_programs_nor_secrets(request_of_photo, monkeypatch):
    monkeypatch.setenv("FLUXGYM_TOKEN", "canary-5d1")
    pool = ImagePool(1, WORKER)
    pool.run(request_of_photo)
    (pid,) = pool.pids()
    environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    assert not [entry for entry in environment if entry.startswith((b"PATH=", b"FLUXGYM_"))]


def test_refused_process_start_raises_no_worker_with_reason(request_of_photo, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(NoWorker, match="No such file"):
        ImagePool(1, WORKER).run(request_of_photo)


def test_refused_image_keeps_its_worker(tmp_path):
    (tmp_path / "a.png").write_text("no image")
    pool, pids = ImagePool(1, WORKER), set()
    for _ in range(2):
        with pytest.raises(UnusableImage, match="is not an image"):
            pool.run(ImageRequest(action="size", path=str(tmp_path / "a.png")))
        pids |= pool.pids()
    assert len(pids) == 1


def test_reply_that_is_too_long_ends_its_worker(request_of_photo):
    pool = ImagePool(1, replace(WORKER, max_reply_bytes=10))
    with pytest.raises(UnusableImage):
        pool.run(request_of_photo)
    assert pool.pids() == set()

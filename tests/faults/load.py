"""Faults of load: thousands of uploads, and many watchers of a run for a long time, with and without uploads, beside memory that must not grow."""

import itertools
import random
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from urllib.parse import quote

import httpx
from PIL import Image

from fluxgym.contract.limits import MAX_CAPTION_BYTES
from fluxgym.runs.paths import RunPaths
from tests.faults.result import Result, first_lost, try_each
from tests.support.drafts import new_draft_id
from tests.support.page import App
from tests.support.small_installation import small_installation
from tests.support.trained_runs import make_trained_run, mark_as_running, write_line
from tests.support.watchers import PAUSE_S, watching

TOTAL_STEPS = 20_000
MAX_GROWTH = 8 << 20  # bytes that the app's own memory may grow while nothing new happens
WARM_UP = 5  # rounds after which the app's memory is taken as its size
UPLOADERS = 2
MAX_IMAGES = 100  # of a draft, which is emptied then: with every image, what the app knows of the folder grows


def uploads(folder: Path, count: int, seed: int) -> Result:
    """Upload many images with captions to one draft: each is accepted, all are listed, and after a quarter of them the app's memory stays flat."""
    with _app(folder) as app, httpx.Client(base_url=app.url, timeout=60) as client:
        draft = new_draft_id()
        sizes: list[int] = []

        def attempt(number: int, dice: random.Random) -> str:
            name = f"{number:05d}"
            answers = [_put(client, draft, f"{name}.png", small_png(dice)), _put(client, draft, f"{name}.txt", _caption(dice))]
            if number % max(1, count // 20) == 0:
                sizes.append(_memory(app))
            return "" if answers == [200, 200] else f"status {answers}"

        result = try_each(count, seed, attempt)
        listed = client.get(f"/fluxgym/api/drafts/{draft}/images").json()["count"]
        lost = [] if listed == count else [f"{listed} are listed"]
        return _with_losses(app, result, lost + _growth(sizes[len(sizes) // 4 :]), _range(sizes))


def _growth(sizes: list[int]) -> list[str]:
    """Return a sentence if memory grew by more than MAX_GROWTH; the first and last values are medians of up to three."""
    growth = statistics.median(sizes[-3:]) - statistics.median(sizes[:3])
    return [f"memory grew by {growth / (1 << 20):.0f} MB"] if growth > MAX_GROWTH else []


def _range(sizes: list[int]) -> str:
    return f"{sizes[0] >> 20} to {sizes[-1] >> 20} MB"


def watchers(folder: Path, count: int, seed: int) -> Result:
    """Let 20 pages watch a training for `count` rounds: each gets its answers, and the app's memory stays flat."""
    return _watched(folder, count, num_watchers=20, num_uploaders=0)


def watchers_and_uploaders(folder: Path, count: int, seed: int) -> Result:
    """Let 50 pages watch a training for `count` rounds while two upload without a pause: each gets its answers, memory stays flat."""
    return _watched(folder, count, num_watchers=50, num_uploaders=UPLOADERS)


def _watched(folder: Path, count: int, *, num_watchers: int, num_uploaders: int) -> Result:
    """Return a result whose tries are answers; a memory that grew is one loss."""
    with _app(folder) as app, _uploading(app, num_uploaders) as uploaded, watching(app.url, "watched", num_watchers) as answers:
        run = RunPaths(app.outputs / "watched")
        sizes = []
        for step in range(2, count + 2):
            write_line(
                run, time=time.time(), phase="training", step=step, total_steps=TOTAL_STEPS, epoch=1, loss=1 / step, s_per_it=PAUSE_S
            )
            time.sleep(PAUSE_S)
            sizes.append(_memory(app))
    lost = answers.failures + [f"an upload got {status}" for status in uploaded if status != 200] + _growth(sizes[WARM_UP:] or sizes)
    tried = len(answers.seconds) + len(answers.failures) + len(uploaded)
    minutes = count * PAUSE_S / 60
    note = f"{minutes:.1f} minutes, {_range(sizes)}, 95 % of answers within {_p95(answers.seconds) * 1000:.0f} ms"
    return _with_losses(app, Result(tried=tried, held=tried), lost, note)


def _p95(values: list[float]) -> float:
    return statistics.quantiles(values, n=20)[-1]


def _with_losses(app: App, result: Result, lost: list[str], note: str) -> Result:
    """Return a result with further losses, one of them a traceback in the app's log."""
    lost = lost + (["a traceback in the app's log"] if "Traceback" in app.log.read_text() else [])
    held = max(0, result.held - len(lost))
    notes = [each for each in (result.note, first_lost(lost), note) if each]
    return Result(tried=result.tried, held=held, seed=result.seed, note="; ".join(notes))


@contextmanager
def _app(folder: Path) -> Iterator[App]:
    """Start the app over a run that looks as if it trained."""
    world = small_installation(folder)
    mark_as_running(make_trained_run(world.outputs, "watched", last_step=1, total_steps=TOTAL_STEPS, status="running"))
    app = App(folder, world.models, "--sd-scripts", str(world.sd_scripts))
    try:
        yield app
    finally:
        app.kill()


@contextmanager
def _uploading(app: App, count: int) -> Iterator[list[int]]:
    """Upload images to `count` drafts without a pause, and empty a draft of MAX_IMAGES; yields the statuses of the uploads."""
    statuses: list[int] = []
    end = threading.Event()

    def upload(seed: int) -> None:
        dice, draft = random.Random(seed), new_draft_id()
        with httpx.Client(base_url=app.url, timeout=60) as client:
            for number in itertools.count():
                if end.is_set():
                    return
                if number % MAX_IMAGES == 0:
                    client.delete(f"/fluxgym/api/drafts/{draft}/images").raise_for_status()
                statuses.append(_put(client, draft, f"{number % MAX_IMAGES:05d}.png", small_png(dice, 512)))

    threads = [threading.Thread(target=upload, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield statuses
    finally:
        end.set()
        for thread in threads:
            thread.join()


def _put(client: httpx.Client, draft: str, name: str, content: bytes) -> int:
    return client.put(f"/fluxgym/drafts/{draft}/images/{quote(name)}", content=content).status_code


def small_png(dice: random.Random, side: int = 32) -> bytes:
    """Return a PNG that is different each time."""
    buffer = BytesIO()
    Image.frombytes("L", (side // 8, side // 8), dice.randbytes((side // 8) ** 2)).resize((side, side)).save(buffer, "PNG")
    return buffer.getvalue()


def _caption(dice: random.Random) -> bytes:
    return ("sks cat " * dice.randint(1, 200)).encode()[:MAX_CAPTION_BYTES]


def _memory(app: App) -> int:
    """Return the bytes that only the app's process uses."""
    return int(app.process.memory_full_info().uss)

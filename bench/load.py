"""Large data sets and many watchers: 10,000 images beside 10, and 50 browsers that watch a training while images are uploaded.

A watcher requests the banner and the run's page as often as an open page does, and sends the version that it has already.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
from PIL import Image

from bench.app import ROOT, free_port
from bench.table import Figure
from fluxgym.dataset.example import TRIGGER, write_example
from fluxgym.runs.paths import OutputsPaths
from fluxgym.runs.progress import lines_in
from tests.support.watchers import PAUSE_S, watching

IMAGES, FEW_IMAGES = 10_000, 10
WATCHERS = 50
STEPS = 40  # that are timed without watchers, and again with them
DRAFT = "0123456789abcdef0123456789abcdef"


def measure(repeats: int) -> list[Figure]:
    """Measure both; a repeat is ten edits of the data set."""
    return [*_images(10 * repeats), *_watchers()]


def _images(repeats: int) -> list[Figure]:
    took = {count: _edits(count, repeats) for count in (FEW_IMAGES, IMAGES)}
    return [
        Figure(
            what=f"{IMAGES:,} images: {what}, 95th percentile", ours=took[IMAGES][what] * 1000, unit="ms", target="<= 150",
            peer=took[FEW_IMAGES][what] * 1000, peer_name=f"{FEW_IMAGES} images",
        )
        for what in took[IMAGES]
    ]  # fmt: skip


def _edits(count: int, repeats: int) -> dict[str, float]:
    """Return what a page of images, a saved caption and a search take, in seconds."""
    with tempfile.TemporaryDirectory() as folder, _app(Path(folder)) as client:
        client.put(_image(0), content=_png(0)).raise_for_status()
        images = next(Path(folder).glob("outputs/.fluxgym/drafts/*/dataset"))
        for number in range(1, count):
            (images / f"{number:05d}.png").write_bytes(_png(number))
            (images / f"{number:05d}.txt").write_text(f"sks cat number {number}", encoding="utf-8")
        pages: list[float] = []
        captions: list[float] = []
        searches: list[float] = []
        for turn in range(repeats):
            offset = (turn * 700) % max(1, count - 100)
            name = f"{(turn * 37) % count:05d}.png"
            pages.append(_timed(client, "GET", f"/fluxgym/api/drafts/{DRAFT}/images?offset={offset}"))
            captions.append(_timed(client, "PATCH", f"/fluxgym/api/drafts/{DRAFT}/images/{name}", json={"caption": f"edit {turn}"}))
            searches.append(_timed(client, "GET", f"/fluxgym/api/drafts/{DRAFT}/images?search=number+{turn}"))
        return {"a page of images": _p95(pages), "a caption": _p95(captions), "a search": _p95(searches)}


def _watchers() -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder, _app(Path(folder)) as client, _training(Path(folder)) as progress:
        alone = _seconds_per_step(progress)
        with watching(str(client.base_url), "watched", 1) as one:
            time.sleep(10 * PAUSE_S)
        with watching(str(client.base_url), "watched", WATCHERS) as many:
            uploads: list[float] = []
            watched = _seconds_per_step(progress, lambda: uploads.append(_timed(client, "PUT", _image(len(uploads)), content=_png(1, 512))))
    return [
        Figure(
            what=f"{WATCHERS} watchers, a training, uploads: answer, 95th percentile", ours=_p95(many.seconds) * 1000, unit="ms", target="<= 100",
            peer=_p95(one.seconds) * 1000, peer_name="1 watcher",
        ),
        Figure(what="the same: an upload of 512 px, 95th percentile", ours=_p95(uploads) * 1000, unit="ms"),
        Figure(what="the same: the trainer's step", ours=watched, unit="s", target="+2 % at most", peer=alone, peer_name="without watchers"),
    ]  # fmt: skip


@contextmanager
def _app(folder: Path) -> Iterator[httpx.Client]:
    """Start the app; yields a client for it."""
    port = free_port()
    command = [sys.executable, str(ROOT / "app.py"), "--outputs", str(folder / "outputs"), "--port", str(port)]
    with (folder / "app.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | {"FLUXGYM_LOCKS": str(folder / "locks")})
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            _wait_for(client)
            yield client
    finally:
        process.kill()
        process.wait()


def _wait_for(client: httpx.Client) -> None:
    for _ in range(600):
        try:
            client.get("/fluxgym/api/banner").raise_for_status()
            return
        except httpx.TransportError:
            time.sleep(0.05)
    raise RuntimeError("the app does not answer")


@contextmanager
def _training(folder: Path) -> Iterator[Path]:
    """Train the pocket model for longer than the measurement; yields the progress file."""
    write_example(folder / "images")
    state = {
        "lora_name": "watched",
        "base_model": "pocket",
        "concept_sentence": TRIGGER,
        "max_train_epochs": 1000,
        "sample_every_n_steps": 0,
    }
    (folder / "state.json").write_text(json.dumps(state), encoding="utf-8")
    environment = os.environ | {"FLUXGYM_LOCKS": str(folder / "locks")}
    command = [sys.executable, "-m", "fluxgym", "start", "--outputs", str(folder / "outputs"), "--images", str(folder / "images")]
    subprocess.run([*command, "--state", str(folder / "state.json")], cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)
    run = OutputsPaths(folder / "outputs").run("watched")
    try:
        yield run.progress
    finally:
        stop = [sys.executable, "-m", "fluxgym", "stop", "watched", "--now", "--outputs", str(folder / "outputs")]
        subprocess.run(stop, cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)


def _seconds_per_step(progress: Path, turn: Callable[[], object] = lambda: time.sleep(0.2)) -> float:
    """Return the median seconds of the next STEPS steps; calls `turn` while it waits."""
    first = len(_times(progress))
    while len(times := _times(progress)[first:]) <= STEPS:
        turn()
        time.sleep(0.3)
    return statistics.median(after - before for before, after in pairwise(times))


def _times(progress: Path) -> list[float]:
    lines = progress.read_bytes().splitlines() if progress.exists() else []
    return [line["time"] for line in lines_in(lines) if "loss" in line]


def _timed(client: httpx.Client, method: str, url: str, **body: Any) -> float:
    began = time.perf_counter()
    client.request(method, url, **body).raise_for_status()
    return time.perf_counter() - began


def _image(number: int) -> str:
    return f"/fluxgym/drafts/{DRAFT}/images/{quote(f'{number:05d}.png')}"


def _png(number: int, size: int = 32) -> bytes:
    """Return a PNG that no other number has."""
    file = BytesIO()
    Image.effect_noise((size, size), 20 + number % 100).convert("RGB").save(file, "PNG")
    return file.getvalue()


def _p95(values: list[float]) -> float:
    return statistics.quantiles(values, n=20)[-1]

"""A real app on a free port, a real Chromium that looks at it, and images to drop; every run is ended when a test is over."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from fluxgym.runs.paths import OutputsPaths
from fluxgym.sessions.control import request_stop, wait_until_ended
from tests.support.photos import write_cats
from tests.support.tiny_models import write_tiny_models

ROOT = Path(__file__).parents[2]
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync"


class App:
    """app.py as a process that can be killed and started again on the same port."""

    def __init__(self, folder: Path, models: Path, *flags: str) -> None:
        self.outputs, self.models, self.flags = folder / "outputs", models, flags
        self.log = folder / "app.log"
        self.port = 0
        self.greeting = ""
        self.start()

    @property
    def url(self) -> str:
        """The page's address."""
        return f"http://127.0.0.1:{self.port}/"

    def start(self) -> None:
        """Start the app and wait until it says where it is."""
        command = [
            sys.executable,
            str(ROOT / "app.py"),
            "--port",
            str(self.port),
            "--outputs",
            str(self.outputs),
            "--models",
            str(self.models),
        ]
        log = self.log.open("ab")
        environment = os.environ | {"OMP_NUM_THREADS": "1"}  # two threads that spin and a browser are slower than one thread
        self.process = subprocess.Popen([*command, *self.flags], stdout=subprocess.PIPE, stderr=log, text=True, env=environment)
        line = self.process.stdout.readline()
        found = re.search(r":(\d+)/", line)
        assert found, f"the app said {line!r}\n{self.log.read_text()}"
        self.port, self.greeting = int(found[1]), line

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()

    def rss_mb(self) -> float:
        """Return the memory that it takes."""
        return psutil.Process(self.process.pid).memory_info().rss / 1e6


def end_runs(outputs: Path) -> None:
    """End whatever a test has started."""
    for run in OutputsPaths(outputs).runs():
        if request_stop(run, now=True):
            wait_until_ended(run)


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a models folder whose pocket model is of random weights and trains in seconds."""
    folder = tmp_path_factory.mktemp("models")
    write_tiny_models(folder / "pocket")
    write_cats(folder / "pocket" / "prior", count=2, size=64, caption="a photo")
    return folder


@pytest.fixture
def app(tmp_path: Path, tiny_models: Path) -> Iterator[App]:
    """Yield a running app over empty outputs and the tiny model."""
    app = App(tmp_path, tiny_models)
    yield app
    app.kill()
    end_runs(app.outputs)


@pytest.fixture
def pocket_app(tmp_path: Path) -> Iterator[App]:
    """Yield a running app over empty outputs and the repository's own pocket model."""
    app = App(tmp_path, ROOT / "models")
    yield app
    app.kill()
    end_runs(app.outputs)


@pytest.fixture(scope="module")  # no longer: while Playwright is up, no other test of this process can run an event loop
def browser() -> Iterator[Browser]:
    """Yield Chromium; without one on this machine the browser's tests are skipped."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine (CHROMIUM=path names one)")
    with sync_playwright() as playwright:
        expect.set_options(timeout=30_000)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS.split())
        yield browser
        browser.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """Yield a browser profile of its own."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    context.set_default_timeout(30_000)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    """Yield a tab; a script's mistake in it fails the test."""
    page = context.new_page()
    mistakes: list[str] = []
    page.on("pageerror", lambda error: mistakes.append(str(error)))
    yield page
    assert not mistakes


@pytest.fixture
def cats(tmp_path: Path) -> list[Path]:
    """Return 8 crops of a real photo."""
    return sorted(write_cats(tmp_path / "photos", count=8).glob("*.png"))

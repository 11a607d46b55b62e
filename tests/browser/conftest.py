"""Fixtures of the browser tests: an app on a free port, Chromium, and images to drop; runs are stopped after each test."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from fluxgym.runs.paths import RunPaths
from tests.support.page import ROOT, App, stop_all_runs
from tests.support.photos import write_cats
from tests.support.small_installation import write_safetensors
from tests.support.tiny_models import write_tiny_models
from tests.support.trained_runs import make_trained_run, mark_as_running, record_end

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync"


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
    stop_all_runs(app.outputs)


@pytest.fixture
def pocket_app(tmp_path: Path) -> Iterator[App]:
    """Yield a running app over empty outputs and the repository's own pocket model."""
    app = App(tmp_path, ROOT / "models")
    yield app
    app.kill()
    stop_all_runs(app.outputs)


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
    """Yield a tab; an uncaught JavaScript error in it fails the test."""
    page = context.new_page()
    mistakes: list[str] = []
    page.on("pageerror", lambda error: mistakes.append(str(error)))
    yield page
    assert not mistakes


@pytest.fixture
def cats(tmp_path: Path) -> list[Path]:
    """Return 8 crops of a real photo."""
    return sorted(write_cats(tmp_path / "photos", count=8).glob("*.png"))


@pytest.fixture(name="running")
def fixture_running(app: App) -> Iterator[RunPaths]:
    """Yield a run that seems to train: my-cat, at step 60 of 120."""
    run = make_trained_run(app.outputs, "my-cat", last_step=60, status="running")
    mark_as_running(run)
    yield run
    shutil.rmtree(run.folder)  # nothing that could be stopped runs there


@pytest.fixture(name="done")
def fixture_done(app: App) -> RunPaths:
    """Return a completed run: done-cat."""
    run = make_trained_run(app.outputs, "done-cat", last_step=120, status="completed")
    write_safetensors(run.lora, 1_500_000)
    record_end(run, "completed", exit_code=0, last_step=120)
    return run

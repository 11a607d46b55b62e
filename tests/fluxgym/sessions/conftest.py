"""Fixtures of the sessions' tests: a small installation, training images, and a run that has ended."""

import pytest

from tests.support.photos import write_cats
from tests.support.runs import make_run
from tests.support.small_installation import small_installation


@pytest.fixture(name="world")
def fixture_world(tmp_path):
    return small_installation(tmp_path)


@pytest.fixture(name="images")
def fixture_images(tmp_path):
    return write_cats(tmp_path / "images")


@pytest.fixture(name="completed_run")
def fixture_completed_run(tmp_path):
    """Return a run that has ended, with a LoRA, in tmp_path/outputs."""
    run = make_run(tmp_path / "outputs", status="completed")
    run.lora.write_bytes(b"model" * 100)
    return run

"""Fixtures of the sessions' tests: a small installation and training images."""

import pytest

from tests.support.photos import write_cats
from tests.support.small_world import small_world


@pytest.fixture(name="world")
def fixture_world(tmp_path):
    return small_world(tmp_path)


@pytest.fixture(name="images")
def fixture_images(tmp_path):
    return write_cats(tmp_path / "images")

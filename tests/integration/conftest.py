"""Fixtures of the integration tests: tiny models, images, and a run whose processes are killed after the test."""

import os
import signal

import pytest

from fluxgym.runs.process_identity import read_record, start_ticks
from tests.support.photos import write_cats
from tests.support.runs import make_run
from tests.support.tiny_models import write_tiny_models


@pytest.fixture(name="run")
def fixture_run(tmp_path):
    run = make_run(tmp_path)
    yield run
    record = read_record(run)
    for identity in (record.trainer, record.supervisor) if record else ():
        if identity and start_ticks(identity.pid) == identity.start_ticks:
            os.kill(identity.pid, signal.SIGKILL)


@pytest.fixture(scope="module", name="models")
def fixture_models(tmp_path_factory):
    return write_tiny_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module", name="images")
def fixture_images(tmp_path_factory):
    return write_cats(tmp_path_factory.mktemp("images"), count=4)

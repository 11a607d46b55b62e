"""Fixtures of the engines' tests: an outputs folder with a queue, and its dispatcher as other processes see it."""

import pytest

from fluxgym.engines.dispatcher_process import DispatcherProcess
from fluxgym.runs.paths import OutputsPaths


@pytest.fixture(name="outputs")
def fixture_outputs(tmp_path):
    outputs = OutputsPaths(tmp_path / "outputs")
    outputs.queue.mkdir(parents=True)
    return outputs


@pytest.fixture(name="process")
def fixture_process(outputs):
    return DispatcherProcess(outputs)

"""Fixtures of the engines' tests: a run and its local engine, an outputs folder with a queue, and its dispatcher as other processes see it."""

import pytest

from fluxgym.engines.base import Engine
from fluxgym.engines.dispatcher_process import DispatcherProcess
from fluxgym.engines.local import LocalEngine
from fluxgym.runs.paths import OutputsPaths
from tests.support.runs import make_run


@pytest.fixture(name="outputs")
def fixture_outputs(tmp_path):
    outputs = OutputsPaths(tmp_path / "outputs")
    outputs.queue.mkdir(parents=True)
    return outputs


@pytest.fixture(name="process")
def fixture_process(outputs):
    return DispatcherProcess(outputs)


@pytest.fixture(name="run")
def fixture_run(tmp_path):
    return make_run(tmp_path)


@pytest.fixture(name="engine")
def fixture_engine(tmp_path) -> Engine:
    return LocalEngine(OutputsPaths(tmp_path))

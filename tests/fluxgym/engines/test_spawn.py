"""A supervisor that is started logs to monitor.log, in each of its modes, and its start is described by what it wrote itself."""

from dataclasses import replace

import pytest

from fluxgym.engines.base import Mode
from fluxgym.engines.spawn import start_supervisor
from tests.support.runs import make_run


@pytest.mark.parametrize("mode", Mode)
def test_supervisor_without_launch_spec_is_reported_in_monitor_log(mode, tmp_path):
    run = make_run(tmp_path)
    assert start_supervisor(run, mode).process.wait(30) == 1
    assert "launch.json is missing" in run.monitor_log.read_text()


def test_error_of_start_is_of_this_start(tmp_path):
    run = make_run(tmp_path)
    run.monitor_log.write_text("an old line\n")
    started = start_supervisor(run, Mode.TRAIN)
    started.process.wait(30)
    assert "launch.json is missing" in started.error()
    silent = replace(started, log_size=run.monitor_log.stat().st_size)
    assert silent.error() == "it ended with code 1 and wrote nothing into its log"

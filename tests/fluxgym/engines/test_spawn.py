"""A supervisor that is started logs to monitor.log, in each of its modes."""

import pytest

from fluxgym.engines.base import Mode
from fluxgym.engines.spawn import start_supervisor
from tests.support.runs import make_run


@pytest.mark.parametrize("mode", Mode)
def test_a_supervisor_without_a_launch_spec_says_so_in_monitor_log(mode, tmp_path):
    run = make_run(tmp_path)
    assert start_supervisor(run, mode).wait(30) == 1
    assert "launch.json is missing" in run.monitor_log.read_text()

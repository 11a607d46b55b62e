"""Undo of Cancel is only for a run that the user canceled before it had a trainer."""

import pytest

from fluxgym.errors import SessionError
from fluxgym.planning.plan import Planner
from fluxgym.runs.launch_spec import LaunchSpec, write_launch_spec
from fluxgym.sessions.requeue import requeue
from tests.support.runs import dead_process, make_run, record_processes
from tests.support.small_installation import small_installation


@pytest.mark.parametrize(("reason_code", "has_trainer"), [("user", True), ("interrupted", False)])
def test_run_that_trained_or_that_the_user_did_not_stop_is_refused(tmp_path, reason_code, has_trainer):
    settings = small_installation(tmp_path)
    run = make_run(settings.outputs, "cat", status="stopped", reason_code=reason_code)
    write_launch_spec(run, LaunchSpec(run_id="id-cat", attempt=1, trainer_dir="/"))
    dead = dead_process("id-cat")
    record_processes(run, "id-cat", 1, dead, dead if has_trainer else None)
    with pytest.raises(SessionError, match="not canceled while it waited"):
        requeue(run, Planner(settings))

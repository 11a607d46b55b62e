"""Repair: a damaged state is written again from what is known, and kept beside it; a good one is left alone."""

import pytest

from fluxgym.errors import SessionError
from fluxgym.runs.exit_record import ExitRecord, write_exit_record
from fluxgym.runs.state import read_state, update_state
from fluxgym.sessions.history import repair, save_version
from fluxgym.sessions.listing import list_sessions
from tests.support.runs import make_run


@pytest.fixture(name="run")
def fixture_run(tmp_path):
    return make_run(tmp_path, status="stopped", max_train_epochs=4)


def test_the_newest_settings_of_the_history_and_the_end_that_was_written_come_back(run, tmp_path):
    save_version(run)
    update_state(run, {"max_train_epochs": 8})
    save_version(run)
    write_exit_record(run, ExitRecord(run_id="id-cat", attempt=1, status="failed", reason_code="nan", reason="The loss became NaN."))
    run.ui_state.write_text('{"lora_name": "cat", "max_tr')
    repair(run)
    state = read_state(run)
    known = (state["lora_name"], state["max_train_epochs"], state["status"], state["reason_code"], state["run_id"])
    assert known == ("cat", 8, "failed", "nan", "id-cat")
    (damaged,) = run.folder.glob("ui_state.damaged-*")
    assert damaged.read_text() == '{"lora_name": "cat", "max_tr'
    assert [str(session.status) for session in list_sessions(tmp_path)] == ["failed"]


def test_without_a_history_the_settings_come_from_the_command(run):
    run.train_sh.write_text("accelerate launch x.py --max_train_epochs 12 --learning_rate 1e-4\n")
    run.ui_state.write_text("")
    state = repair(run)
    assert (state["lora_name"], state["max_train_epochs"], state["learning_rate"], state["status"]) == ("cat", 12, "1e-4", "stopped")


def test_a_good_state_and_none_are_left_alone(run):
    before = run.ui_state.read_bytes()
    with pytest.raises(SessionError, match="nothing to repair"):
        repair(run)
    assert run.ui_state.read_bytes() == before
    run.ui_state.unlink()
    with pytest.raises(SessionError, match="no run"):
        repair(run)
    assert not run.ui_state.exists()

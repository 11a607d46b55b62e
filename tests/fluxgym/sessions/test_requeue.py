"""A run without a result starts from the beginning in its own folder. Undo of Cancel is only for a run that never had a trainer."""

import time

import pytest

from fluxgym.errors import DatasetError, SessionError
from fluxgym.planning.plan import Planner
from fluxgym.runs.exit_record import ExitRecord, record_end
from fluxgym.runs.launch_spec import LaunchSpec, read_launch_spec, write_launch_spec
from fluxgym.runs.process_identity import read_record
from fluxgym.runs.snapshot import RunSnapshot
from fluxgym.runs.state import read_state, update_state
from fluxgym.sessions.control import wait_until_ended
from fluxgym.sessions.create import duplicate
from fluxgym.sessions.history import versions
from fluxgym.sessions.requeue import can_start_again, requeue, start_again
from fluxgym.sessions.run_dates import date_of, first_start
from fluxgym.sessions.start import StartRequest, start
from tests.support.photos import write_cats
from tests.support.runs import dead_process, make_run, record_processes, write_checkpoint
from tests.support.small_installation import small_installation, state


@pytest.fixture(name="settings")
def fixture_settings(tmp_path):
    return small_installation(tmp_path)


@pytest.fixture(name="run")
def fixture_run(settings, tmp_path):
    """Return a run whose trainer was killed before it saved anything."""
    run = start(StartRequest(state=state(), images=write_cats(tmp_path / "images", count=2, size=64)), settings)
    wait_until_ended(run)
    run.lora.unlink()
    update_state(run, {"status": "stopped", "reason_code": "interrupted"})
    return run


@pytest.mark.parametrize(("reason_code", "has_trainer"), [("user", True), ("interrupted", False)])
def test_run_that_trained_or_that_the_user_did_not_stop_is_refused(settings, reason_code, has_trainer):
    run = make_run(settings.outputs, "cat", status="stopped", reason_code=reason_code)
    write_launch_spec(run, LaunchSpec(run_id="id-cat", attempt=1, trainer_dir="/"))
    dead = dead_process("id-cat")
    record_processes(run, "id-cat", 1, dead, dead if has_trainer else None)
    with pytest.raises(SessionError, match="not canceled while it waited"):
        requeue(run, Planner(settings))


def test_run_that_was_killed_early_starts_again_in_its_own_folder(settings, run):
    began = first_start(RunSnapshot.read(run))
    assert can_start_again(run)
    assert start_again(run, Planner(settings)) == run
    assert wait_until_ended(run).status == "completed"
    assert (read_launch_spec(run).attempt, read_launch_spec(run).resume_from) == (2, None)
    assert run.lora.is_file()
    assert first_start(RunSnapshot.read(run)) == began


def test_start_from_beginning_replaces_no_result(settings, run):
    checkpoint = write_checkpoint(run, f"{run.slug}-000001-state", 1)
    assert not can_start_again(run)
    with pytest.raises(SessionError, match="has a checkpoint or a LoRA file"):
        start_again(run, Planner(settings))
    checkpoint.rename(run.folder / "elsewhere")
    (run.folder / f"{run.slug}-000001.safetensors").write_bytes(b"x")
    with pytest.raises(SessionError, match="has a checkpoint or a LoRA file"):
        start_again(run, Planner(settings))


def test_start_again_makes_the_checks_of_start(settings, run):
    for image in run.dataset.glob("*.png"):
        image.write_text("no image")
    with pytest.raises(DatasetError) as refused:
        start_again(run, Planner(settings))
    assert "\n" not in str(refused.value)


def test_copy_starts_as_first_attempt_without_history(settings, run):
    copy = duplicate(run, "Second")
    update_state(copy, {"timestamp": 1000.0})
    start_again(copy, Planner(settings))
    assert wait_until_ended(copy).status == "completed"
    assert read_record(copy).attempt == 1
    assert versions(copy) == []
    assert read_state(copy)["timestamp"] > 1000.0


def test_undo_of_cancel_is_the_first_attempt_and_started_is_when_its_trainer_began(settings, run):
    copy = duplicate(run, "Second")
    spec = LaunchSpec(run_id=read_state(copy)["run_id"], attempt=1, trainer_dir="/")
    write_launch_spec(copy, spec)
    record_processes(copy, spec.run_id, 1, dead_process(spec.run_id), None)
    end = {"status": "stopped", "reason_code": "user", "reason": "", "ended_at": time.time()}
    record_end(copy, ExitRecord(run_id=spec.run_id, attempt=1, **end))
    update_state(copy, {"timestamp": 1000.0})
    requeue(copy, Planner(settings))
    assert wait_until_ended(copy).status == "completed"
    snapshot = RunSnapshot.read(copy)
    date = date_of(snapshot, "completed", "trained", 1000.0)
    assert (date.word, date.at) == ("Started", snapshot.exit_record.started_at)
    assert snapshot.process_record.attempt == 1
    assert versions(copy) == []

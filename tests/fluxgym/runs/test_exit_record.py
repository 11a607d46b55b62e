"""exit.json: it is written even when the disk has filled up meanwhile."""

import os
from pathlib import Path

import pytest

from fluxgym.errors import StorageError
from fluxgym.runs import exit_record
from fluxgym.runs.disk_space import RESERVED_BYTES
from fluxgym.runs.exit_record import ExitRecord, end_changes, read_exit, record_end, reserve_exit_record, write_exit_record
from fluxgym.runs.paths import RunPaths
from fluxgym.runs.state import read_state
from tests.support.runs import make_run


@pytest.fixture(name="run")
def fixture_run(tmp_path):
    run = RunPaths(tmp_path / "cat")
    run.private.mkdir(parents=True)
    return run


@pytest.fixture(name="full_disk")
def fixture_full_disk(monkeypatch):
    def refuse(path: Path, value: object) -> None:
        raise StorageError(f"{path} could not be written: no space left on device.")

    monkeypatch.setattr(exit_record, "write_json", refuse)


def end(**changes: object) -> ExitRecord:
    return ExitRecord(**{"run_id": "id-cat", "attempt": 1, "status": "failed", "reason_code": "disk_full", "reason": "Full.", **changes})


def test_an_end_is_read_back_and_the_room_for_it_given_free(run):
    reserve_exit_record(run)
    assert run.exit_reserve.stat().st_size == RESERVED_BYTES
    assert read_exit(run) is None
    write_exit_record(run, end(last_step=7))
    assert read_exit(run) == end(last_step=7)
    assert not run.exit_reserve.exists()


def test_on_a_full_disk_the_reserved_room_holds_the_end(run, full_disk):
    run.exit.write_text('{"run_id": "id-cat", "attempt": 0, "status": "stopped", "reason_code": "", "reason": "An earlier attempt."}')
    assert read_exit(run).reason == "An earlier attempt."
    reserve_exit_record(run)
    write_exit_record(run, end(reason="猫" * 5000, verified={"what": "x" * 5000}))
    assert read_exit(run).reason == "猫" * 500
    assert os.path.getsize(run.exit_reserve) == RESERVED_BYTES  # noqa: PTH202


def test_a_full_disk_without_reserved_space_is_reported(run, full_disk):
    with pytest.raises(StorageError, match=r"exit"):
        write_exit_record(run, end())


@pytest.mark.parametrize("status", ["stopped", "failed", "completed"])
def test_only_a_completed_run_has_a_time_of_completion(status):
    assert end_changes(end(status=status, ended_at=7.0, reason="", exit_code=3)) == {
        "status": status, "reason_code": "disk_full", "reason": None, "exit_code": 3, "completed_at": 7.0 if status == "completed" else None,
    }  # fmt: skip


def test_the_end_of_a_run_without_a_supervisor_is_recorded_in_both_files(tmp_path):
    run = make_run(tmp_path, status="queued", completed_at=1.0)
    record_end(run, end(ended_at=7.0), expected={"status": "queued"})
    assert read_exit(run) == end(ended_at=7.0)
    state = read_state(run)
    assert (state["status"], state["reason"], "completed_at" in state) == ("failed", "Full.", False)


def test_a_run_that_was_started_meanwhile_gets_no_end(tmp_path):
    run = make_run(tmp_path, status="running")
    record_end(run, end(ended_at=7.0), expected={"status": "queued"})
    assert read_exit(run) is None
    assert read_state(run)["status"] == "running"

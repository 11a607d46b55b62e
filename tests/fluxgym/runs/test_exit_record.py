"""exit.json: it is written even on a full disk."""

import os
import re
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


def test_exit_record_is_read_back_and_reserved_space_freed(run):
    reserve_exit_record(run)
    assert run.exit_reserve.stat().st_size == RESERVED_BYTES
    assert read_exit(run) is None
    write_exit_record(run, end(last_step=7))
    assert read_exit(run) == end(last_step=7)
    assert not run.exit_reserve.exists()


def test_exit_record_on_full_disk_uses_reserved_space(run, full_disk):
    run.exit.write_text('{"run_id": "id-cat", "attempt": 0, "status": "stopped", "reason_code": "", "reason": "An earlier attempt."}')
    assert read_exit(run).reason == "An earlier attempt."
    reserve_exit_record(run)
    write_exit_record(run, end(reason="猫" * 5000, verified={"what": "x" * 5000}))
    assert read_exit(run).reason == "猫" * 500
    assert os.path.getsize(run.exit_reserve) == RESERVED_BYTES  # noqa: PTH202


def test_full_disk_without_reserved_space_is_reported(run, full_disk):
    with pytest.raises(StorageError, match=re.escape(run.exit_reserve.name)):
        write_exit_record(run, end())


@pytest.mark.parametrize("status", ["stopped", "failed", "completed"])
def test_completion_time_is_set_only_for_completed_run(status):
    assert end_changes(end(status=status, ended_at=7.0, reason="", exit_code=3)) == {
        "status": status, "reason_code": "disk_full", "reason": None, "exit_code": 3, "completed_at": 7.0 if status == "completed" else None,
    }  # fmt: skip


def test_outcome_without_supervisor_is_recorded_in_both_files(tmp_path):
    run = make_run(tmp_path, status="queued", completed_at=1.0)
    record_end(run, end(ended_at=7.0), expected={"status": "queued"})
    assert read_exit(run) == end(ended_at=7.0)
    state = read_state(run)
    assert (state["status"], state["reason"], "completed_at" in state) == ("failed", "Full.", False)


def test_run_restarted_concurrently_gets_no_exit_record(tmp_path):
    run = make_run(tmp_path, status="running")
    record_end(run, end(ended_at=7.0), expected={"status": "queued"})
    assert read_exit(run) is None
    assert read_state(run)["status"] == "running"

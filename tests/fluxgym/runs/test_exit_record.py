"""exit.json: it is written even when the disk has filled up meanwhile."""

import os
from pathlib import Path

import pytest

from fluxgym.errors import StorageError
from fluxgym.runs import exit_record
from fluxgym.runs.exit_record import ExitRecord, read_exit, reserve_exit_record, write_exit_record
from fluxgym.runs.files import RESERVED_BYTES
from fluxgym.runs.paths import RunPaths


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

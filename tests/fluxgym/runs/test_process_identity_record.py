"""process.json: the processes of a folder that was moved, copied or damaged."""

import os
import shutil
import subprocess
import sys

import pytest

from fluxgym.contract.files import ATTEMPT_VARIABLE, RUN_ID_VARIABLE
from fluxgym.contract.lease import RUN_FOLDER_VARIABLE
from fluxgym.engines.registry import is_executing
from fluxgym.runs.paths import RunPaths
from fluxgym.runs.process_identity import identify, read_record
from tests.support.runs import record_processes


@pytest.fixture(name="run")
def fixture_run(tmp_path):
    run = RunPaths(tmp_path / "cat")
    run.private.mkdir(parents=True)
    me = identify(os.getpid(), "id-cat")
    record_processes(run, "id-cat", 1, me, me, started_at=5.0)
    return run


def test_record_is_restored_as_it_was_written(run):
    record = read_record(run)
    assert (record.run_id, record.attempt, record.started_at, record.trainer.pid) == ("id-cat", 1, 5.0, os.getpid())
    assert is_executing(run)


def test_copy_of_live_runs_folder_is_not_live(run, tmp_path):
    copy = RunPaths(shutil.copytree(run.folder, tmp_path / "copy"))
    assert read_record(copy) is None
    assert not is_executing(copy)
    assert is_executing(run)


def test_moved_folder_keeps_its_processes_and_so_does_one_seen_through_link(run, tmp_path):
    (tmp_path / "link").symlink_to(run.folder)
    assert is_executing(RunPaths(tmp_path / "link"))
    assert is_executing(RunPaths(run.folder.rename(tmp_path / "moved")))


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"run_id": 1}', '{"run_id": "a", "attempt": "x", "started_at": 1}', '{"folder": "\\u0000"}']
)
def test_damaged_record_returns_none(run, text):
    run.process.write_text(text)
    assert read_record(run) is None


@pytest.fixture(name="trainer")
def fixture_trainer(run):
    """A process with the environment of the run's trainer, named by training.pid."""
    own = {"FLUXGYM_RUN_FOLDER": str(run.folder), "FLUXGYM_RUN_ID": "id-cat", "FLUXGYM_ATTEMPT": "2"}
    assert {RUN_FOLDER_VARIABLE, RUN_ID_VARIABLE, ATTEMPT_VARIABLE} == set(own)
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], env=os.environ | own)
    run.training_pid.write_text(f"{process.pid}\n")
    yield process
    process.kill()
    process.wait()


BROKEN_TRAINER = '{"run_id": "id-cat", "attempt": 2, "started_at": 5, "supervisor": null, "trainer": {"pid": "x"}}'


@pytest.mark.parametrize("text", ["{", "[]", BROKEN_TRAINER])
def test_trainer_of_damaged_record_is_found_by_its_pid_file(run, trainer, text):
    run.process.write_text(text)
    record = read_record(run)
    assert (record.run_id, record.attempt, record.supervisor, record.trainer.pid) == ("id-cat", 2, None, trainer.pid)
    assert is_executing(run)
    copy = RunPaths(shutil.copytree(run.folder, run.folder.with_name("copy")))
    assert not is_executing(copy)  # its training.pid names a trainer of another folder
    run.training_pid.write_text(f"{os.getpid()}\n")
    assert not is_executing(run)


def test_trainer_without_any_record_is_not_guessed(run, trainer):
    run.process.unlink()
    assert read_record(run) is None

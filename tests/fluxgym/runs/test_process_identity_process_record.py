"""process.json: the processes of a folder that was moved, copied or damaged."""

import os
import shutil

import pytest

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


def test_a_record_comes_back_as_it_was_written(run):
    record = read_record(run)
    assert (record.run_id, record.attempt, record.started_at, record.trainer.pid) == ("id-cat", 1, 5.0, os.getpid())
    assert is_executing(run)


def test_a_copy_of_a_live_runs_folder_is_not_live(run, tmp_path):
    copy = RunPaths(shutil.copytree(run.folder, tmp_path / "copy"))
    assert read_record(copy) is None
    assert not is_executing(copy)
    assert is_executing(run)


def test_a_moved_folder_keeps_its_processes_and_so_does_one_seen_through_a_link(run, tmp_path):
    (tmp_path / "link").symlink_to(run.folder)
    assert is_executing(RunPaths(tmp_path / "link"))
    assert is_executing(RunPaths(run.folder.rename(tmp_path / "moved")))


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"run_id": 1}', '{"run_id": "a", "attempt": "x", "started_at": 1}', '{"folder": "\\u0000"}']
)
def test_a_damaged_record_returns_none(run, text):
    run.process.write_text(text)
    assert read_record(run) is None

"""The page's index: what it caches never differs from the files."""

import json
import os
import shutil

import pytest

from fluxgym.runs.process_identity import identify
from fluxgym.sessions import index as index_module
from fluxgym.sessions.history import repair
from fluxgym.sessions.index import EntriesCache, SessionIndex
from fluxgym.sessions.listing import list_sessions
from tests.support.runs import make_run, record_processes


def seen(index, **how):
    return [(entry.slug, entry.name, round(entry.started, 3), entry.status) for entry in index.entries(**how)]


def true(outputs):
    return [(session.slug, session.name, round(session.started, 3), session.status) for session in list_sessions(outputs)]


@pytest.fixture(name="runs")
def fixture_runs(tmp_path):
    return [make_run(tmp_path, f"run-{number}", status="stopped", timestamp=1.0 + number) for number in range(6)]


def change(run, **changes):
    run.ui_state.write_text(json.dumps(json.loads(run.ui_state.read_text()) | changes))


def test_index_detects_every_change(tmp_path, runs):
    index = SessionIndex(tmp_path)
    assert seen(index) == true(tmp_path)
    change(runs[2], lora_name="another", timestamp=100.0)
    assert seen(index) == true(tmp_path)
    assert seen(index)[0][1] == "another"
    runs[3].ui_state.unlink()
    shutil.rmtree(runs[4].folder)
    make_run(tmp_path, "new", status="completed", timestamp=50.0)
    assert seen(index) == true(tmp_path)
    runs[1].ui_state.write_text("{")
    assert seen(index) == true(tmp_path)
    shutil.move(runs[0].folder, tmp_path / "moved")
    assert seen(index) == true(tmp_path)
    shutil.rmtree(tmp_path)
    assert seen(index) == []


def test_live_process_is_detected_for_any_state(tmp_path, runs):
    index = SessionIndex(tmp_path)
    index.entries()
    me = identify(os.getpid(), "id-run-1")
    record_processes(runs[1], "id-run-1", 1, me, me)
    runs[1].training_pid.write_text(f"{os.getpid()}\n")
    change(runs[1], status="running")
    assert {slug: status for slug, _, _, status in seen(index)}["run-1"] == "running"
    record_processes(runs[1], "id-run-1", 1, None, None)  # nothing of ui_state.json changes when its processes die
    assert {slug: status for slug, _, _, status in seen(index)}["run-1"] == "stopped"
    assert seen(index) == true(tmp_path)


def test_unchanged_runs_are_not_read_again(tmp_path, runs, monkeypatch):
    index = SessionIndex(tmp_path)
    index.entries()
    monkeypatch.setattr(index_module, "read_state", lambda run: pytest.fail(f"{run.slug} was read again"))
    index.entries(everything=True)
    change(runs[1], lora_name="changed")
    with pytest.raises(pytest.fail.Exception, match="run-1 was read again"):
        index.entries(everything=True)


def test_run_added_within_one_timestamp_tick_is_detected(tmp_path, runs):
    index = SessionIndex(tmp_path)
    index.entries()
    tick = tmp_path.stat().st_mtime_ns
    make_run(tmp_path, "same-tick", status="stopped", timestamp=9.0)
    os.utime(tmp_path, ns=(tick, tick))
    assert seen(index) == true(tmp_path)


def test_names_in_unchanged_folder_are_cached_until_full_read(tmp_path, runs, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(index_module, "monotonic", lambda: clock[0])
    index = SessionIndex(tmp_path)
    tick = tmp_path.stat().st_mtime_ns
    for clock[0] in (100.0, 103.0):
        index.entries()
    make_run(tmp_path, "hidden", status="stopped", timestamp=9.0)
    os.utime(tmp_path, ns=(tick, tick))
    with monkeypatch.context() as inside:
        inside.setattr(index_module.os, "scandir", lambda path: pytest.fail("the names were read again"))
        index.entries()
    assert seen(index, everything=True) == true(tmp_path)


def test_old_runs_are_rechecked_in_rotation(tmp_path, runs, monkeypatch):
    monkeypatch.setattr(index_module, "MAX_CHECKED_PER_POLL", 4)
    index = SessionIndex(tmp_path)
    index.entries()
    for run in runs:
        change(run, lora_name=f"other {run.slug}")
    assert {name for slug, name, *_ in seen(index) if slug in ("run-5", "run-4")} == {"other run-5", "other run-4"}
    for _ in range(3):
        index.entries()
    assert seen(index) == true(tmp_path)
    change(runs[0], lora_name="once more")
    assert seen(index, everything=True) == true(tmp_path)


IRREGULAR = {
    "pipe": os.mkfifo,
    "folder": os.mkdir,
    "link": lambda path: path.symlink_to("/etc/hostname"),
    "broken link": lambda path: path.symlink_to("x"),
}


@pytest.mark.parametrize("make", IRREGULAR.values(), ids=IRREGULAR)
def test_state_that_is_not_file_is_unreadable_row(make, tmp_path, runs):
    index = SessionIndex(tmp_path)
    assert {entry.slug: entry.status for entry in index.entries()}["run-0"] != "unreadable"
    runs[0].ui_state.unlink()
    make(runs[0].ui_state)
    assert {entry.slug: entry.status for entry in index.entries()}["run-0"] == "unreadable"
    (row,) = [session for session in list_sessions(tmp_path) if session.slug == "run-0"]
    assert row.status == "unreadable"
    assert "ui_state.json is not a state: it is a" in row.reason
    repair(runs[0])
    assert {entry.slug: entry.status for entry in index.entries()}["run-0"] != "unreadable"


def test_value_of_entries_is_computed_again_only_after_change(tmp_path, runs):
    index, computed = SessionIndex(tmp_path), []
    names = EntriesCache(lambda entries: computed.append(1) or [entry.name for entry in entries])
    assert names(index.entries()) == names(index.entries()) == [run.slug for run in reversed(runs)]
    assert len(computed) == 1
    change(runs[2], lora_name="another")
    assert "another" in names(index.entries())
    runs[3].ui_state.unlink()
    assert len(names(index.entries())) == 5
    assert len(computed) == 3

"""Forget and sweep: only what has ended, and the files stay. Rules that also apply to delete are tested here."""

import os
import threading
import time
from contextlib import suppress

import pytest

from fluxgym.errors import AlreadyRunning, SessionError, SessionNotFound
from fluxgym.runs.locks import file_lock
from fluxgym.runs.paths import OutputsPaths, RunPaths
from fluxgym.runs.process_identity import identify
from fluxgym.sessions.delete import delete
from fluxgym.sessions.folder_contents import contents
from fluxgym.sessions.forget import forget, sweep, sweepable, undo_forget
from fluxgym.sessions.listing import list_sessions
from tests.support.runs import make_run, record_processes, write_ticket


def live(run):
    me = identify(os.getpid(), f"id-{run.slug}")
    record_processes(run, f"id-{run.slug}", 1, me, me)


def test_forget_keeps_model(completed_run, tmp_path):
    forget(completed_run)
    assert list_sessions(tmp_path / "outputs") == []
    assert completed_run.lora.exists()
    forget(completed_run)


def test_undo_of_forget_restores_same_state(completed_run, tmp_path):
    before = completed_run.ui_state.read_bytes()
    forget(completed_run)
    undo_forget(completed_run)
    assert completed_run.ui_state.read_bytes() == before
    assert [session.slug for session in list_sessions(tmp_path / "outputs")] == ["cat"]
    with pytest.raises(SessionError, match="on the list"):
        undo_forget(completed_run)


def test_undo_without_forget_is_refused(completed_run):
    completed_run.ui_state.unlink()
    with pytest.raises(SessionNotFound, match="no forgotten settings"):
        undo_forget(completed_run)


def test_forget_of_state_alone_can_be_undone(tmp_path):
    folder = tmp_path / "plain"
    folder.mkdir()
    (folder / "ui_state.json").write_text('{"lora_name": "plain"}')  # as the user's guide writes it, without .run
    forget(RunPaths(folder))
    assert list_sessions(tmp_path) == []
    undo_forget(RunPaths(folder))
    assert [session.lora_name for session in list_sessions(tmp_path)] == ["plain"]


def test_sweepable_lists_runs_without_changes(completed_run, tmp_path):
    assert [found.slug for found in sweepable(tmp_path / "outputs", 0)] == ["cat"]
    assert sweepable(tmp_path / "outputs", 1) == []
    assert completed_run.ui_state.exists()


@pytest.mark.parametrize("do", [forget, delete])
def test_live_run_is_not_deleted_or_forgotten(completed_run, do):
    live(completed_run)
    completed_run.ui_state.unlink()  # even when its state is gone
    with pytest.raises(AlreadyRunning):
        do(completed_run)
    assert completed_run.lora.exists()


def test_waiting_run_is_not_changed(tmp_path):
    run = make_run(tmp_path, status="queued")
    write_ticket(run)
    with pytest.raises(AlreadyRunning):
        forget(run)


def test_sweep_forgets_old_ended_runs(tmp_path):
    now = time.time()
    ages = {"new": (1, "completed"), "old": (40, "stopped"), "older": (400, "failed"), "alive": (40, "running")}
    for name, (days, status) in ages.items():
        make_run(tmp_path, name, status=status, timestamp=now - days * 86_400)
    live(OutputsPaths(tmp_path).run("alive"))
    OutputsPaths(tmp_path).run("alive").training_pid.write_text(f"{os.getpid()}\n")
    assert sorted(sweep(tmp_path, 30)) == ["old", "older"]
    assert sorted(session.slug for session in list_sessions(tmp_path)) == ["alive", "new"]


FOLDERS = {
    "with photos of the user": lambda folder: (folder / "photo.png").write_bytes(b"x"),
    "empty": lambda folder: None,
    "with a model alone": lambda folder: (folder / "photos.safetensors").write_bytes(b"x"),
}


@pytest.mark.parametrize("fill", FOLDERS.values(), ids=FOLDERS)
@pytest.mark.parametrize("do", [delete, forget, undo_forget, contents])
def test_folder_that_is_not_run_is_not_changed(do, fill, tmp_path):
    folder = tmp_path / "outputs" / "photos"
    folder.mkdir(parents=True)
    fill(folder)
    before = sorted(folder.iterdir())
    with pytest.raises(SessionNotFound, match="is not a run"):
        do(RunPaths(folder))
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize("do", [forget, delete])
def test_delete_waits_for_concurrent_start(completed_run, do):
    def tried():
        with suppress(AlreadyRunning):
            do(completed_run)

    with file_lock(OutputsPaths(completed_run.folder.parent).locks / "cat", timeout_s=1, busy="x"):
        removal = threading.Thread(target=tried)
        removal.start()
        removal.join(0.3)
        live(completed_run)  # what the start ends in
    removal.join()
    assert completed_run.ui_state.exists()


@pytest.mark.parametrize("remove", [forget, delete])
def test_run_that_was_started_again_since_button_was_drawn_stays(completed_run, remove):
    with pytest.raises(SessionError, match="started again"):
        remove(completed_run, run_id="another")
    assert completed_run.ui_state.exists()
    assert completed_run.lora.exists()
    remove(completed_run, run_id=f"id-{completed_run.slug}")
    assert not completed_run.ui_state.exists()

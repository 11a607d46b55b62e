"""Forget, delete, sweep, backup: only what has ended, and the model stays unless everything goes."""

import os
import subprocess
import tarfile
import threading
import time
from contextlib import suppress

import pytest

from fluxgym.errors import AlreadyRunning, SessionError, SessionNotFound, StorageError
from fluxgym.runs.locks import file_lock
from fluxgym.runs.paths import OutputsPaths, RunPaths
from fluxgym.runs.process_identity import identify
from fluxgym.sessions import cleanup as forget_module
from fluxgym.sessions.cleanup import backup, contents, delete, forget, sweep, sweepable, undo_forget
from fluxgym.sessions.listing import list_sessions
from tests.support.runs import make_run, record_processes, wait_for, write_ticket


@pytest.fixture(name="run")
def fixture_run(tmp_path):
    run = make_run(tmp_path / "outputs", status="completed")
    run.lora.write_bytes(b"model" * 100)
    return run


def live(run):
    me = identify(os.getpid(), f"id-{run.slug}")
    record_processes(run, f"id-{run.slug}", 1, me, me)


def test_forget_keeps_the_model(run, tmp_path):
    forget(run)
    assert list_sessions(tmp_path / "outputs") == []
    assert run.lora.exists()
    forget(run)


def test_undo_of_forget_restores_the_same_state(run, tmp_path):
    before = run.ui_state.read_bytes()
    forget(run)
    undo_forget(run)
    assert run.ui_state.read_bytes() == before
    assert [session.slug for session in list_sessions(tmp_path / "outputs")] == ["cat"]
    with pytest.raises(SessionError, match="on the list"):
        undo_forget(run)


def test_undo_without_a_forget_is_refused(run):
    run.ui_state.unlink()
    with pytest.raises(SessionNotFound, match="no forgotten settings"):
        undo_forget(run)


def test_forget_of_a_state_alone_can_be_undone(tmp_path):
    folder = tmp_path / "plain"
    folder.mkdir()
    (folder / "ui_state.json").write_text('{"lora_name": "plain"}')  # as the user's guide writes it, without .run
    forget(RunPaths(folder))
    assert list_sessions(tmp_path) == []
    undo_forget(RunPaths(folder))
    assert [session.lora_name for session in list_sessions(tmp_path)] == ["plain"]


def test_contents_count_what_would_be_lost(run):
    for folder, name in ((run.dataset, "a.png"), (run.dataset, "a.txt"), (run.samples, "s.png"), (run.folder / "cat-state", "x")):
        folder.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"x")
    found = contents(run)
    assert (found.num_images, found.num_samples, found.num_checkpoints, found.lora_files) == (1, 1, 1, ("cat.safetensors",))


def test_sweepable_names_the_runs_and_changes_nothing(run, tmp_path):
    assert [found.slug for found in sweepable(tmp_path / "outputs", 0)] == ["cat"]
    assert sweepable(tmp_path / "outputs", 1) == []
    assert run.ui_state.exists()


def test_delete_takes_everything_and_says_what(run):
    assert "cat.safetensors" in contents(run).sentence()
    assert delete(run).num_files == 2
    assert not run.folder.exists()
    with pytest.raises(SessionNotFound):
        delete(run)


@pytest.mark.parametrize("do", [forget, delete])
def test_a_live_run_is_not_deleted_or_forgotten(run, do):
    live(run)
    run.ui_state.unlink()  # even when its state is gone
    with pytest.raises(AlreadyRunning):
        do(run)
    assert run.lora.exists()


def test_a_waiting_run_is_left_alone(tmp_path):
    run = make_run(tmp_path, status="queued")
    write_ticket(run)
    with pytest.raises(AlreadyRunning):
        forget(run)


def test_sweep_forgets_the_old_ones_that_have_ended(tmp_path):
    now = time.time()
    ages = {"new": (1, "completed"), "old": (40, "stopped"), "older": (400, "failed"), "alive": (40, "running")}
    for name, (days, status) in ages.items():
        make_run(tmp_path, name, status=status, timestamp=now - days * 86_400)
    live(OutputsPaths(tmp_path).run("alive"))
    OutputsPaths(tmp_path).run("alive").training_pid.write_text(f"{os.getpid()}\n")
    assert sorted(sweep(tmp_path, 30)) == ["old", "older"]
    assert sorted(session.slug for session in list_sessions(tmp_path)) == ["alive", "new"]


def test_a_backup_is_unpacked_as_the_guide_says(run, tmp_path):
    make_run(tmp_path / "outputs", "dog", status="stopped")
    assert backup(tmp_path / "outputs", tmp_path / "states.tar.gz") == 2
    kept = run.ui_state.read_bytes()
    run.ui_state.unlink()
    subprocess.run(["tar", "-xzf", "states.tar.gz"], cwd=tmp_path, check=True)
    assert run.ui_state.read_bytes() == kept


def test_a_backup_holds_what_hard_links_share(run, tmp_path):
    twin = make_run(tmp_path / "outputs", "twin", status="stopped")
    twin.ui_state.unlink()
    twin.ui_state.hardlink_to(run.ui_state)
    assert backup(tmp_path / "outputs", tmp_path / "x.tar.gz") == 2
    with tarfile.open(tmp_path / "x.tar.gz") as archive:
        assert {member.name: member.isreg() and archive.extractfile(member).read() for member in archive} == {
            f"outputs/{each.slug}/ui_state.json": each.ui_state.read_bytes() for each in (run, twin)
        }


@pytest.mark.parametrize(("make", "named"), [
    (lambda path, secret: path.symlink_to(secret), "it is a link"),
    (lambda path, secret: path.write_bytes(bytes(2 << 20)), "it is larger than 1 MB"),
])  # fmt: skip
def test_a_backup_never_holds_what_a_link_leads_to_nor_a_giant(make, named, run, tmp_path):
    (tmp_path / "secret.json").write_text('{"canary": 1}')
    run.ui_state.unlink()
    make(run.ui_state, tmp_path / "secret.json")
    with pytest.raises(StorageError, match=rf"cat/ui_state\.json cannot be read \({named}.*so no backup was made; repair the run"):
        backup(tmp_path / "outputs", tmp_path / "y.tar.gz")
    assert list(tmp_path.glob("*.gz*")) == []


FOLDERS = {
    "with photos of the user": lambda folder: (folder / "photo.png").write_bytes(b"x"),
    "empty": lambda folder: None,
    "with a model alone": lambda folder: (folder / "photos.safetensors").write_bytes(b"x"),
}


@pytest.mark.parametrize("fill", FOLDERS.values(), ids=FOLDERS)
@pytest.mark.parametrize("do", [delete, forget, undo_forget, contents])
def test_a_folder_that_is_not_a_run_is_left_alone(do, fill, tmp_path):
    folder = tmp_path / "outputs" / "photos"
    folder.mkdir(parents=True)
    fill(folder)
    before = sorted(folder.iterdir())
    with pytest.raises(SessionNotFound, match="is not a run"):
        do(RunPaths(folder))
    assert sorted(folder.iterdir()) == before


def test_delete_of_a_linked_run_removes_the_link_and_an_interrupted_delete_is_finished(run, tmp_path):
    (tmp_path / "outputs" / "link").symlink_to(run.folder)
    left = OutputsPaths(tmp_path / "outputs").deleted / "left"
    left.mkdir(parents=True)
    (left / "model.safetensors").write_bytes(b"x")
    assert delete(OutputsPaths(tmp_path / "outputs").run("link")).num_files == 2
    assert run.lora.exists()
    assert not (tmp_path / "outputs" / "link").is_symlink()
    wait_for(lambda: not list(left.parent.iterdir()))
    assert run.lora.exists()


@pytest.mark.parametrize("do", [forget, delete])
def test_a_start_of_that_name_is_waited_for(run, do):
    def tried():
        with suppress(AlreadyRunning):
            do(run)

    with file_lock(OutputsPaths(run.folder.parent).locks / "cat", timeout_s=1, busy="x"):
        removal = threading.Thread(target=tried)
        removal.start()
        removal.join(0.3)
        live(run)  # what the start ends in
    removal.join()
    assert run.ui_state.exists()


def test_a_delete_does_not_wait_for_its_files_to_go(run, monkeypatch):
    monkeypatch.setattr(forget_module, "remove_in_background", lambda outputs: None)  # as if it never came to it
    delete(run)
    assert not run.folder.exists()
    (staging,) = OutputsPaths(run.folder.parent).deleted.iterdir()
    assert (staging / "cat.safetensors").exists()
    assert list_sessions(run.folder.parent) == []
    monkeypatch.undo()
    make_run(run.folder.parent, "dog", status="stopped")
    delete(OutputsPaths(run.folder.parent).run("dog"))
    wait_for(lambda: not list(staging.parent.iterdir()))


@pytest.mark.parametrize("remove", [forget, delete])
def test_a_run_that_was_started_again_since_the_button_was_drawn_stays(run, remove):
    with pytest.raises(SessionError, match="started again"):
        remove(run, run_id="another")
    assert run.ui_state.exists()
    assert run.lora.exists()
    remove(run, run_id=f"id-{run.slug}")
    assert not run.ui_state.exists()

"""Delete removes the run at once, and its files in the background."""

import pytest

from fluxgym.errors import SessionNotFound
from fluxgym.runs.paths import OutputsPaths
from fluxgym.sessions import delete as delete_module
from fluxgym.sessions.delete import delete
from fluxgym.sessions.folder_contents import contents
from fluxgym.sessions.listing import list_sessions
from tests.support.runs import make_run, wait_for


def test_delete_removes_all_files_and_reports_them(completed_run):
    assert "cat.safetensors" in contents(completed_run).message()
    assert delete(completed_run).num_files == 2
    assert not completed_run.folder.exists()
    with pytest.raises(SessionNotFound):
        delete(completed_run)


def test_delete_of_linked_run_removes_link_and_interrupted_delete_is_finished(completed_run, tmp_path):
    (tmp_path / "outputs" / "link").symlink_to(completed_run.folder)
    left = OutputsPaths(tmp_path / "outputs").deleted / "left"
    left.mkdir(parents=True)
    (left / "model.safetensors").write_bytes(b"x")
    assert delete(OutputsPaths(tmp_path / "outputs").run("link")).num_files == 2
    assert completed_run.lora.exists()
    assert not (tmp_path / "outputs" / "link").is_symlink()
    wait_for(lambda: not list(left.parent.iterdir()))
    assert completed_run.lora.exists()


def test_delete_returns_before_files_are_removed(completed_run, monkeypatch):
    monkeypatch.setattr(delete_module, "remove_in_background", lambda outputs: None)  # as if it never came to it
    delete(completed_run)
    assert not completed_run.folder.exists()
    (staging,) = OutputsPaths(completed_run.folder.parent).deleted.iterdir()
    assert (staging / "cat.safetensors").exists()
    assert list_sessions(completed_run.folder.parent) == []
    monkeypatch.undo()
    make_run(completed_run.folder.parent, "dog", status="stopped")
    delete(OutputsPaths(completed_run.folder.parent).run("dog"))
    wait_for(lambda: not list(staging.parent.iterdir()))

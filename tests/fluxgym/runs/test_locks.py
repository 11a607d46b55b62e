"""Locks: one holder, released when the file is closed, and links that another user made are not followed."""

import os

import pytest

from fluxgym.errors import AlreadyRunning, StorageError
from fluxgym.runs import locks
from fluxgym.runs.locks import file_lock, local_locks, try_lock
from fluxgym.runs.paths import RunPaths
from fluxgym.runs.state import update_state


def test_lock_has_one_holder_at_time(tmp_path):
    path = tmp_path / "a" / "lock"
    with file_lock(path, timeout_s=0, busy="busy"):
        assert try_lock(path) is None
        with pytest.raises(AlreadyRunning, match="busy"), file_lock(path, timeout_s=0, busy="busy"):
            pass
    held = try_lock(path)
    assert held is not None
    held.close()


def test_link_at_path_of_lock_is_not_followed(tmp_path):
    (tmp_path / "mine").write_text("precious")
    (tmp_path / "lock").symlink_to(tmp_path / "mine")
    with pytest.raises(StorageError):
        try_lock(tmp_path / "lock")
    assert (tmp_path / "mine").read_text() == "precious"


def test_lock_folder_of_this_machine_is_private(tmp_path, monkeypatch):
    try_lock(local_locks() / "device-cpu.lock").close()
    assert local_locks().stat().st_mode & 0o777 == 0o700
    monkeypatch.setattr(os, "getuid", lambda: local_locks().stat().st_uid + 1)
    monkeypatch.setenv("FLUXGYM_LOCKS", str(local_locks()))
    with pytest.raises(StorageError, match="FLUXGYM_LOCKS"):
        try_lock(local_locks() / "device-cpu.lock")


def test_no_lock_of_run_creates_folder_of_run(tmp_path):
    run = RunPaths(tmp_path / "cat")
    for path in (run.lock, run.supervisor_lock):
        with pytest.raises(StorageError):
            try_lock(path)
    assert not update_state(run, {"status": "queued"})
    assert not run.folder.exists()
    run.folder.mkdir()
    try_lock(run.lock).close()
    assert not update_state(run, {"status": "queued"})


def test_lock_on_removed_file_is_not_acquired(tmp_path, monkeypatch):
    path, flock, calls = tmp_path / "lock", locks.fcntl.flock, []

    def lock(file, flags):
        flock(file, flags)
        calls.append(flags)
        if len(calls) == 1:
            path.unlink()

    monkeypatch.setattr(locks.fcntl, "flock", lock)
    with try_lock(path) as file:
        assert locks.is_open_file(file.fileno(), path)
    assert len(calls) == 2

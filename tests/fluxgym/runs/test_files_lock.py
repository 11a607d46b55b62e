"""Locks: one holder, released when the file is closed, and links that another user made are not followed."""

import os

import pytest

from fluxgym.errors import AlreadyRunning, StorageError
from fluxgym.runs.files import file_lock, local_locks, try_lock


def test_one_holder_at_a_time(tmp_path):
    path = tmp_path / "a" / "lock"
    with file_lock(path, timeout_s=0, busy="busy"):
        assert try_lock(path) is None
        with pytest.raises(AlreadyRunning, match="busy"), file_lock(path, timeout_s=0, busy="busy"):
            pass
    held = try_lock(path)
    assert held is not None
    held.close()


def test_a_link_at_the_path_of_a_lock_is_not_followed(tmp_path):
    (tmp_path / "mine").write_text("precious")
    (tmp_path / "lock").symlink_to(tmp_path / "mine")
    with pytest.raises(StorageError):
        try_lock(tmp_path / "lock")
    assert (tmp_path / "mine").read_text() == "precious"


def test_the_folder_of_this_machines_locks_is_ours_alone(tmp_path, monkeypatch):
    try_lock(local_locks() / "device-cpu.lock").close()
    assert local_locks().stat().st_mode & 0o777 == 0o700
    monkeypatch.setattr(os, "getuid", lambda: local_locks().stat().st_uid + 1)
    monkeypatch.setenv("FLUXGYM_LOCKS", str(local_locks()))
    with pytest.raises(StorageError, match="FLUXGYM_LOCKS"):
        try_lock(local_locks() / "device-cpu.lock")

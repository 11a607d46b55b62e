"""Writes are atomic; disk errors are reported with a message."""

import os
import resource

import pytest

from fluxgym.errors import StorageError
from fluxgym.runs.atomic_files import read_json, write_json, write_text


def test_write_on_full_disk_keeps_old_file_and_removes_temporary_file(tmp_path):
    write_text(tmp_path / "a", "old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(StorageError, match="disk is full"):
            write_text(tmp_path / "a", "new" * 1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / "a").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_read_json_returns_written_value_and_reports_damage(tmp_path):
    write_json(tmp_path / "a.json", {"name": "猫"})
    assert read_json(tmp_path / "a.json") == {"name": "猫"}
    (tmp_path / "a.json").write_text("{")
    assert read_json(tmp_path / "a.json") is None
    assert read_json(tmp_path / "none") is None


def test_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert read_json(tmp_path / "pipe") is None


def test_lone_surrogate_and_too_long_name_are_refused(tmp_path):
    write_json(tmp_path / "a.json", {"name": "\ud800 猫"})
    assert read_json(tmp_path / "a.json") == {"name": "? 猫"}  # half a letter cannot be shown to anyone
    with pytest.raises(StorageError, match=r"(?i)name too long"):
        write_json(tmp_path / ("a" * 300), {})
    with pytest.raises(StorageError, match=r"(?i)not a directory|exists"):
        write_json(tmp_path / "a.json" / "b", {})

"""Signatures of launch.json: only this installation can make them, and each change is detected."""

import json
import os

import pytest

from fluxgym.errors import StorageError
from fluxgym.runs.launch_spec import LaunchSpec, read_launch_spec, read_own_launch_spec, write_launch_spec
from fluxgym.runs.signature import KEY_FILE, config_folder, is_signed, signed
from tests.support.runs import make_run

VALUE = {"argv": ["train", "--seed", "1"], "attempt": 1, "text": "日本\udc80"}


def test_signed_object_is_recognized_after_round_trip_through_json():
    assert is_signed(json.loads(json.dumps(signed(VALUE))) | {"text": "日本?"})  # as parse_json reads a lone surrogate


@pytest.mark.parametrize("change", [{"argv": ["sh"]}, {"more": 1}, {"signature": "0" * 64}, {"signature": None}, {"signature": "日"}])
def test_changed_object_is_not_recognized(change):
    assert not is_signed(signed(VALUE) | change)


def test_object_is_not_recognized_by_another_installation(monkeypatch, tmp_path):
    value = signed(VALUE)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "another"))
    assert not is_signed(value)
    signed(VALUE)
    assert not is_signed(value)


def test_key_is_readable_by_its_owner_only():
    signed(VALUE)
    assert (config_folder() / KEY_FILE).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("damage", ["other mode", "link", "cut"])
def test_key_that_another_could_have_written_is_not_used(damage, tmp_path):
    value, key = signed(VALUE), config_folder() / KEY_FILE
    if damage == "other mode":
        key.chmod(0o666)
    elif damage == "cut":
        os.truncate(key, 8)
    else:
        key.rename(tmp_path / "elsewhere")
        key.symlink_to(tmp_path / "elsewhere")
    assert not is_signed(value)


def test_key_is_kept_beside_locks_if_configuration_folder_cannot_be_made(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "file"))
    assert is_signed(signed(VALUE))
    monkeypatch.setenv("FLUXGYM_LOCKS", str(tmp_path / "file"))
    with pytest.raises(StorageError, match="XDG_CONFIG_HOME"):
        signed(VALUE)


def test_launch_spec_of_another_installation_is_read_as_not_trusted(tmp_path, monkeypatch):
    run = make_run(tmp_path)
    spec = LaunchSpec(run_id="id-cat", attempt=1, trainer_dir="/")
    write_launch_spec(run, spec)
    assert read_own_launch_spec(run) == read_launch_spec(run) == spec
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "another"))
    assert read_launch_spec(run) == spec
    assert read_own_launch_spec(run) is None

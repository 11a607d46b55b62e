"""launch.json and stop.json: written, read again, also those of earlier versions, and damaged or on a full disk."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from fluxgym.errors import StorageError
from fluxgym.runs import launch_spec
from fluxgym.runs.disk_space import RESERVED_BYTES
from fluxgym.runs.launch_spec import (
    DeviceRequest,
    LaunchSpec,
    holds_start,
    read_launch_spec,
    read_stop_request,
    reserve_stop_request,
    write_launch_spec,
    write_stop_request,
)
from tests.support.runs import make_run

SPEC = LaunchSpec(run_id="x", attempt=1, trainer_dir="/nowhere", options={"--seed": ("1",)}, argv=("train", "--seed", "1"))


def test_next_attempt_keeps_checkpoint_unless_there_is_newer_one():
    first = replace(SPEC, resume_from="/runs/cat-000001-state")
    second = first.next_attempt(None)
    assert (second.attempt, second.resume_from, second.argv) == (2, "/runs/cat-000001-state", ())
    third = second.next_attempt(Path("/runs/cat-000002-state"))
    assert (third.attempt, third.resume_from, third.options) == (3, "/runs/cat-000002-state", SPEC.options)


@pytest.mark.parametrize(
    "spec",
    [
        LaunchSpec(run_id="x", attempt=1, trainer_dir="/nowhere"),
        LaunchSpec(
            run_id="x", attempt=7, backend="kohya", trainer_dir="/kohya", options={"--sdpa": None, "--network_args": ("a=1", "b=2")},
            resume_from="/runs/cat-state", argv=("python", "--sdpa"), max_train_epochs=16, expected_steps=960,
            devices=DeviceRequest(kind="gpu", ids=("0", "3"), count=2, any_free=False), monitoring=False,
            env={"CUDA_VISIBLE_DEVICES": "0,3"}, stall_scale=0.5,
        ),
    ],
)  # fmt: skip
def test_launch_json_read_again_gives_same_spec(tmp_path, spec):
    run = make_run(tmp_path)
    write_launch_spec(run, spec)
    assert read_launch_spec(run) == spec


OLD_KEYS = {
    "run_id": "x", "attempt": 2, "argv": ["python", "-u", "/kohya/flux_train_network.py", "--max_train_epochs", "16", "--sdpa", "--network_args", "a=1",
    "b=2", "--resume", "/runs/cat-state"], "cwd": "/kohya", "expected_steps": 960, "monitoring": True, "env": {}, "devices": ["gpu-0", "gpu-1"],
    "any_one": True, "stall_scale": 1.0,
}  # fmt: skip


def test_launch_json_of_earlier_version_is_read(tmp_path):
    run = make_run(tmp_path)
    run.launch.write_text(json.dumps(OLD_KEYS | {"foreign": True}))
    spec = read_launch_spec(run)
    assert spec == LaunchSpec(
        run_id="x", attempt=2, backend="kohya", trainer_dir="/kohya", resume_from="/runs/cat-state", argv=tuple(OLD_KEYS["argv"]),
        options={"--max_train_epochs": ("16",), "--sdpa": None, "--network_args": ("a=1", "b=2"), "--resume": ("/runs/cat-state",)},
        max_train_epochs=16, expected_steps=960,
        devices=DeviceRequest(kind="gpu", ids=("0", "1"), any_free=True),
    )  # fmt: skip
    run.launch.write_text(json.dumps(OLD_KEYS))  # before kohya checkouts were supported
    assert read_launch_spec(run).backend == "builtin"


def test_launch_json_keeps_keys_of_earlier_versions(tmp_path):
    run = make_run(tmp_path)
    run.launch.write_text(json.dumps(OLD_KEYS | {"foreign": True}))
    write_launch_spec(run, read_launch_spec(run))
    written = json.loads(run.launch.read_text())
    assert {key: written[key] for key in (*OLD_KEYS, "foreign")} == OLD_KEYS | {"foreign": True}


@pytest.mark.parametrize(
    "damage", [{"argv": "x"}, {"argv": [1]}, {"attempt": "1"}, {"run_id": None}, {"env": {"a": 1}}, {"devices": "cpu"}, {"options": [1]}]
)
def test_damaged_launch_json_is_not_read(tmp_path, damage):
    run = make_run(tmp_path)
    run.launch.write_text(json.dumps(OLD_KEYS | damage))
    assert read_launch_spec(run) is None


@pytest.mark.parametrize("names", [(), ("cpu",), ("gpu-0",), ("gpu-0", "gpu-1")])
def test_device_names_survive_request(names):
    assert DeviceRequest.from_names(names, any_free=True).names == names


@pytest.mark.parametrize("odd", [{"attempt": "1"}, {"attempt": None}, {"grace_s": "soon"}, {"grace_s": None}, {"more": 1}])
def test_damaged_stop_request_is_ignored(tmp_path, odd):
    run = make_run(tmp_path)
    write_stop_request(run, "x", 1, 30.0)
    assert read_stop_request(run, "x", 1).grace_s == 30
    run.stop.write_text(json.dumps(json.loads(run.stop.read_text()) | odd))
    assert read_stop_request(run, "x", 1) is None


@pytest.fixture(name="full_disk")
def fixture_full_disk(monkeypatch):
    def refuse(path, value):
        raise StorageError(f"{path} could not be written: no space left on device.")

    return lambda: monkeypatch.setattr(launch_spec, "write_json", refuse)


def test_on_full_disk_stop_request_is_written_into_reserved_space(tmp_path, full_disk):
    run = make_run(tmp_path)
    reserve_stop_request(run)
    assert read_stop_request(run, "x", 1) is None
    write_stop_request(run, "x", 1, 60.0)
    full_disk()
    write_stop_request(run, "x", 1, 0.0)  # Stop now, after Stop
    assert read_stop_request(run, "x", 1).grace_s == 0
    assert run.stop_reserve.stat().st_size == RESERVED_BYTES


def test_stop_request_that_could_be_written_replaces_one_in_reserved_space(tmp_path, full_disk, monkeypatch):
    run = make_run(tmp_path)
    reserve_stop_request(run)
    with monkeypatch.context() as full:
        full.setattr(launch_spec, "write_json", lambda path, _: (_ for _ in ()).throw(StorageError(f"{path}: full")))
        write_stop_request(run, "x", 1, 60.0)
    write_stop_request(run, "x", 1, 0.0)
    assert read_stop_request(run, "x", 1).grace_s == 0


def test_new_start_removes_stop_requests(tmp_path, full_disk):
    run = make_run(tmp_path)
    write_stop_request(run, "x", 1, 60.0)
    reserve_stop_request(run)
    write_launch_spec(run, SPEC)
    assert not run.stop.exists()
    assert not run.stop_reserve.exists()


def test_full_disk_without_reserved_space_is_reported(tmp_path, full_disk):
    run = make_run(tmp_path)
    full_disk()
    with pytest.raises(StorageError, match=re.escape(run.stop_reserve.name)):
        write_stop_request(run, "x", 1, 60.0)


HELD = {  # launch.json, ui_state.json (None: missing), whether the folder holds the start "x"
    "both name it": ("x", "x", True),
    "only ui_state.json names it": ("y", "x", True),
    "only launch.json names it": ("x", "y", True),
    "both name another start": ("y", "y", False),
    "launch.json is damaged": ("{", "x", True),
    "launch.json is missing": (None, "x", True),
    "launch.json is missing and the state is of another start": (None, "y", False),
    "both are damaged": ("{", "{", True),
    "both are missing": (None, None, False),
}


@pytest.mark.parametrize("name", HELD)
def test_folder_holds_start_unless_it_was_removed_or_names_another(name, tmp_path):
    launched, stored, is_held = HELD[name]
    run = make_run(tmp_path, run_id=stored)
    write_launch_spec(run, replace(SPEC, run_id=launched or ""))
    for path, value in ((run.launch, launched), (run.ui_state, stored)):
        if value is None:
            path.unlink()
        elif value == "{":
            path.write_text(value)
    assert holds_start(run, "x") is is_held


def test_removed_folder_holds_no_start(tmp_path):
    run = make_run(tmp_path, run_id="x")
    run.folder.rename(tmp_path / "moved")
    assert not holds_start(run, "x")

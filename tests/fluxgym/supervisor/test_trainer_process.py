"""The environment of the trainer's process."""

from types import SimpleNamespace

import pytest

from fluxgym.runs.launch_spec import LaunchSpec
from fluxgym.runs.paths import RunPaths
from fluxgym.supervisor.trainer_process import SECRETS, start_trainer
from tests.support.runs import wait_for


def environment_of_trainer(folder, **spec):
    """Start `env -0` as the trainer; returns the variables that it sees."""
    run = RunPaths(folder)
    order = LaunchSpec(run_id="0123", attempt=2, trainer_dir=str(folder), argv=("env", "-0"), **spec)
    trainer = start_trainer(run, order, SimpleNamespace(env={"CUDA_VISIBLE_DEVICES": "1"}, file_descriptors=()))
    wait_for(lambda: trainer.poll() is not None)
    assert trainer.poll() == 0
    trainer.release()
    header, _, printed = run.training_log.read_bytes().partition(b"\n")
    assert b"attempt 2 of run 0123" in header
    return dict(line.decode().split("=", 1) for line in printed.split(b"\0") if line)


def test_trainer_sees_its_devices_and_no_secrets(tmp_path, monkeypatch):
    for name in SECRETS:
        monkeypatch.setenv(name, "canary")
    seen = environment_of_trainer(tmp_path, env={"PYTORCH_ALLOC_CONF": "expandable_segments:True"})
    assert "canary" not in seen.values()
    assert seen["CUDA_VISIBLE_DEVICES"] == "1"
    assert seen["PYTORCH_ALLOC_CONF"] == "expandable_segments:True"


@pytest.mark.parametrize(("chosen", "expected"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_threads_wait_without_using_cpu_unless_user_chose_otherwise(tmp_path, monkeypatch, chosen, expected):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    if chosen:
        monkeypatch.setenv("OMP_WAIT_POLICY", chosen)
    assert environment_of_trainer(tmp_path)["OMP_WAIT_POLICY"] == expected


@pytest.mark.parametrize("tracker", ["wandb", "all", "tensorboard", None])
def test_wandbs_key_is_passed_only_to_run_that_logs_to_wandb_and_is_not_written(tmp_path, monkeypatch, tracker):
    for name in SECRETS:
        monkeypatch.setenv(name, "canary")
    seen = environment_of_trainer(tmp_path, options={"--log_with": (tracker,)} if tracker else {})
    expected = ["WANDB_API_KEY"] if tracker in ("wandb", "all") else []
    assert [name for name, value in seen.items() if value == "canary"] == expected
    written = [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "training.log" and b"canary" in path.read_bytes()]
    assert written == []  # the log is the output of `env` here


def test_environment_that_launch_sets_is_limited_to_devices_and_memory(tmp_path):
    seen = environment_of_trainer(tmp_path, env={"PYTHONPATH": "/evil", "LD_PRELOAD": "/evil.so", "FLUXGYM_RUN_ID": "another"})
    assert "/evil" not in "".join(seen.values())
    assert seen["FLUXGYM_RUN_ID"] == "0123"


def test_output_is_never_written_through_link(tmp_path):
    run = RunPaths(tmp_path)
    run.training_log.symlink_to(tmp_path / "profile")
    order = LaunchSpec(run_id="0123", attempt=1, trainer_dir=str(tmp_path), argv=("true",))
    with pytest.raises(OSError, match="it is a link"):
        start_trainer(run, order, SimpleNamespace(env={}, file_descriptors=()))
    assert not (tmp_path / "profile").exists()

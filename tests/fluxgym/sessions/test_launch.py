"""A launch spec carries what the trainer needs of the environment of the app that starts a run, and no secret."""

from types import SimpleNamespace

from fluxgym.runs.launch_spec import LaunchSpec
from fluxgym.runs.paths import RunPaths
from fluxgym.sessions.launch import launch_spec


def test_a_launch_spec_carries_devices_and_memory_limits_of_the_app_and_no_token(tmp_path, monkeypatch):
    for name in ("CUDA_VISIBLE_DEVICES", "PYTORCH_CUDA_ALLOC_CONF", "WANDB_API_KEY", "FLUXGYM_TOKEN", "LD_PRELOAD"):
        monkeypatch.setenv(name, f"value of {name}")
    monkeypatch.delenv("PYTORCH_ALLOC_CONF", raising=False)
    planned = SimpleNamespace(
        run=RunPaths(tmp_path / "cat"), launch_spec=lambda run_id, attempt: LaunchSpec(run_id=run_id, attempt=attempt, trainer_dir="/")
    )
    carried = {name: f"value of {name}" for name in ("CUDA_VISIBLE_DEVICES", "PYTORCH_CUDA_ALLOC_CONF")}
    assert launch_spec(planned, "id", 1, None).env == carried
    assert launch_spec(planned, "id", 1, "0,1").env == carried | {"CUDA_VISIBLE_DEVICES": "0,1"}

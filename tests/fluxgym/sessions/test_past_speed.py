"""The time of a training is estimated from completed runs under the same conditions on this machine, only."""

import json
import os
from dataclasses import replace

import pytest

from fluxgym.config.settings import TrainConfig
from fluxgym.runs.launch_spec import DeviceRequest, LaunchSpec, write_launch_spec
from fluxgym.runs.paths import OutputsPaths
from fluxgym.sessions.index import SessionIndex
from fluxgym.sessions.past_speed import MAX_RUNS, PastSpeed, PastSpeeds
from tests.support.opened_files import opened_files
from tests.support.runs import dead_process, make_run, record_processes

LIKE = {"base_model": "pocket", "vram": "20G", "resolution": 64, "advanced": {"train_batch_size": 4}}


def past_run(outputs, name, speed, *, device="cpu", status="completed", trainer=None, **changes):
    """Make a run that ended at some seconds per step."""
    run = make_run(outputs, name, status=status, **(LIKE | changes))
    write_launch_spec(
        run,
        LaunchSpec(
            run_id=f"id-{name}", attempt=1, trainer_dir="x", devices=DeviceRequest(kind=device, ids=("0",) if device == "gpu" else ())
        ),
    )
    record_processes(run, f"id-{name}", 1, None, trainer or dead_process(f"id-{name}"))
    run.progress.write_text(json.dumps({"time": 1.0, "attempt": 1, "phase": "training", "step": 8, "loss": 0.1, "s_per_it": speed}) + "\n")
    return run


@pytest.fixture(name="speed")
def fixture_speed(tmp_path):
    """Return the speed of earlier runs like LIKE, with changes."""
    speeds = PastSpeeds(OutputsPaths(tmp_path), SessionIndex(tmp_path))

    def speed(device="cpu", **changes):
        return speeds.of(TrainConfig(lora_name="new", **(LIKE | changes)), device)

    return speed


def test_speed_without_runs_is_unknown(speed):
    assert speed() is None


def test_speed_is_median_of_similar_runs(tmp_path, speed):
    for number, seconds in enumerate((1.0, 9.0, 2.0)):
        past_run(tmp_path, f"cat-{number}", seconds)
    assert speed() == PastSpeed(seconds_per_step=2.0, num_runs=3)


@pytest.mark.parametrize(
    "changes",
    [
        {"base_model": "flux-dev"}, {"vram": "16G"}, {"resolution": 128}, {"advanced": {"train_batch_size": 1}}, {"device": "gpu"},
        {"advanced": {"train_batch_size": 4, "gradient_accumulation_steps": 2}},
    ],
)  # fmt: skip
def test_run_under_other_conditions_does_not_count(tmp_path, speed, changes):
    past_run(tmp_path, "cat", 1.0)
    assert speed(**changes) is None
    assert speed() is not None


@pytest.mark.parametrize("status", ["stopped", "failed"])
def test_run_that_was_not_completed_does_not_count(tmp_path, speed, status):
    past_run(tmp_path, "cat", 1.0, status=status)
    assert speed() is None


def test_run_of_another_machine_or_without_speed_does_not_count(tmp_path, speed):
    past_run(tmp_path, "there", 1.0, trainer=replace(dead_process("id-there"), host="elsewhere", boot_id="other", machine_id="other"))
    past_run(tmp_path, "odd", "fast")
    past_run(tmp_path, "damaged", 1.0).ui_state.write_text('{"status": "completed", "base_model": "pocket", "seed": "x"}')
    assert speed() is None


def test_edit_of_form_reads_no_run_again_and_many_runs_are_not_all_read(tmp_path, speed):
    for number in range(MAX_RUNS + 5):
        past_run(tmp_path, f"cat-{number}", 1.0)
    with opened_files() as names:
        assert speed().num_runs == MAX_RUNS
    assert len([name for name in names if name.endswith("progress.jsonl")]) == MAX_RUNS
    with opened_files() as names:
        speed()
        speed(resolution=128)
    assert [name for name in names if name.startswith(os.fspath(tmp_path))] == []

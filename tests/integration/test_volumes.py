"""Volumes of pods, WSL2 and network storage, which refuse flock, chmod, fsync of a folder, mmap and hard links: everything works, or one error message."""

import json
import os
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import pytest

from fluxgym.runs.detached import PROJECT
from tests.support.matrix import is_full_matrix
from tests.support.photos import write_cats
from tests.support.runs import wait_for
from tests.support.small_installation import small_installation, state
from tests.support.stops import flags, write_dataset
from tests.support.tiny_models import write_tiny_models
from tests.support.trainer_process import run_trainer
from tests.support.volume_shim import ALL, refusing_environment

SIZES = range(1, len(ALL) + 1) if is_full_matrix() else (1, len(ALL))  # of the sets of calls that are refused together
HELD = """
import sys
from pathlib import Path
from fluxgym.runs.locks import try_lock
lock = try_lock(Path(sys.argv[1]))
print("held" if lock else "busy", flush=True)
sys.stdin.read()
"""


@pytest.fixture(name="volume")
def fixture_volume(tmp_path):
    folder = tmp_path / "volume"
    folder.mkdir()
    return folder


def fluxgym(world, *argv: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a command of the app on the folders of a small world."""
    folders = ["--outputs", str(world.outputs), "--models", str(world.models), "--sd-scripts", str(world.sd_scripts)]
    command = [sys.executable, "-m", "fluxgym", argv[0], *folders, *argv[1:]]
    return subprocess.run(command, cwd=PROJECT, env=os.environ | env, capture_output=True, text=True, check=False)


def write_state(folder: Path, **changes: object) -> Path:
    """Write a state for `fluxgym start`."""
    path = folder / "state.json"
    path.write_text(json.dumps(state(**changes)))
    return path


@pytest.mark.parametrize("calls", [calls for size in SIZES for calls in combinations(ALL, size)], ids=" ".join)
def test_run_is_started_trained_and_verified_on_volume_that_refuses_call(calls, volume, tmp_path):
    world, images = small_installation(volume), write_cats(volume / "images")
    env = refusing_environment(tmp_path, volume, calls=calls)
    done = fluxgym(world, "start", "--state", str(write_state(tmp_path)), "--images", str(images), "--wait", env=env)
    assert done.returncode == 0, done.stderr
    assert "My Cat - Completed" in fluxgym(world, "sessions", env=env).stdout
    assert ("file locks" in done.stderr) == ("flock" in calls)


def test_preflight_reports_missing_locks_between_machines(volume, tmp_path):
    world, images = small_installation(volume), write_cats(volume / "images")
    (world.outputs / ".fluxgym").mkdir(parents=True)
    checks = ("preflight", "--state", str(write_state(tmp_path)), "--images", str(images))
    without = fluxgym(world, *checks, env=refusing_environment(tmp_path, volume, calls=("flock",)))
    assert f"The volume of {world.outputs} has no file locks" in without.stdout
    assert without.returncode == 0
    assert "file locks" not in fluxgym(world, *checks, env={}).stdout


def test_lock_of_volume_without_locks_keeps_processes_of_this_machine_apart(volume, tmp_path):
    env = os.environ | refusing_environment(tmp_path, volume, calls=("flock",))
    command = [sys.executable, "-c", HELD, str(volume / "lock")]
    holder = subprocess.Popen(command, cwd=PROJECT, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        other = subprocess.run(command, cwd=PROJECT, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
        assert other.stdout == "busy\n"
    finally:
        holder.communicate("")


def test_volume_and_local_folder_without_locks_end_with_message_that_names_both_and_remedy(volume, tmp_path):
    world, images = small_installation(volume), write_cats(volume / "images")
    locks = Path(os.environ["FLUXGYM_LOCKS"])
    env = refusing_environment(tmp_path, volume, locks, calls=("flock",))
    start = ("start", "--state", str(write_state(tmp_path)), "--images", str(images), "--wait")
    done = fluxgym(world, *start, env=env)
    assert done.returncode == 2
    error = done.stderr.splitlines()[-1]
    assert error.startswith("error: ")
    assert all(part in error for part in (str(world.outputs), str(locks), "Set FLUXGYM_LOCKS to a folder on a local disk"))
    assert not (world.outputs / "my-cat").exists()
    elsewhere = fluxgym(world, *start, env=env | {"FLUXGYM_LOCKS": str(tmp_path / "local")})
    assert elsewhere.returncode == 0, elsewhere.stderr


@pytest.mark.slow
def test_trainer_saves_and_resumes_on_volume_that_refuses_every_call(volume, tmp_path, monkeypatch):
    models = write_tiny_models(volume / "models")
    dataset, out = write_dataset(volume / "dataset.toml", write_cats(volume / "images", count=2, size=64)), volume / "out"
    options = ("--cache_latents_to_disk", "--cache_text_encoder_outputs", "--cache_text_encoder_outputs_to_disk", "--save_state")
    for name, value in refusing_environment(tmp_path, volume).items():
        monkeypatch.setenv(name, value)
    first = run_trainer(*flags(models, dataset, out, *options, epochs=1))
    assert first.returncode == 0, first.stderr
    assert "cannot map files" in first.stderr
    wait_for(lambda: (out / "cat-state" / "manifest.json").is_file())
    again = run_trainer(*flags(models, dataset, out, *options, "--resume", str(out / "cat-state"), epochs=2))
    assert again.returncode == 0, again.stderr
    assert (out / "cat.safetensors").is_file()

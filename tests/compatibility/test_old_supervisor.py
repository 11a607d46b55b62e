"""Supervisors of the old package stay alive during an upgrade: the current code lists, stops and queues their runs as its own.

The old package is unpacked and starts trainings as it did, by `python -m fluxgym start`. Then its folder is replaced with the current package
while its supervisors run, as `git pull` does. What an old process may still need by its old name afterwards:

- `fluxgym.launch.verify`, started by an old supervisor as `python -m` from the folder of the package, with the arguments
  FILE BEGAN_AT EXPECTED_STEPS STEP. It must print {"ok", "reason", ...} as JSON.
- `fluxgym.launch.supervisor FOLDER [--only-stop|--only-verify]`, started by an old app that is still open: on start, resume and stop, and when
  it brings back a queued run.
- `fluxgym.sessions.removal OUTPUTS`, started by an old app after a delete.
- `fluxgym.dataset.example` and PIL are imported late, but by a process that has imported all other modules of `fluxgym` before. An old supervisor
  imports nothing of `fluxgym` late.
- Command lines: the search for orphans must keep the words `fluxgym.launch.supervisor` and `flux_train_network.py`, as old processes have them.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.compatibility.old_version import Installation, environment, losses, replace_package, unpack_old_package
from tests.support.photos import write_cats

ADVANCED = {
    "train_batch_size": 1, "reg_data_dir": "", "network_args": ["train_double_block_indices=none", "train_single_block_indices=0-1"],
}  # fmt: skip


def processes_of(folder: Path) -> dict[int, str]:
    """Return the supervisors and trainers of a run's folder by PID, with their command lines."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if str(folder) in words:
            found[int(path.parent.name)] = " ".join(words)
    return found


@pytest.fixture(name="old")
def fixture_old(tmp_path):
    old = unpack_old_package(tmp_path)
    write_cats(tmp_path / "cats", count=4, size=64)
    yield old
    for name in ("first", "second"):
        for pid in processes_of(old.outputs / name):
            os.kill(pid, signal.SIGKILL)


@pytest.fixture(name="current")
def fixture_current(old):
    return Installation(old.outputs)


def start(old: Installation, name: str, *, repeats: int, by: Installation | None = None) -> Path:
    """Start a training with the old package, or `by` another one; returns the folder of the run."""
    state = {"lora_name": name, "base_model": "pocket", "vram": "24G", "num_repeats": repeats, "max_train_epochs": 1, "network_dim": 1,
             "sample_every_n_steps": 0, "workers": 1, "enable_monitoring": True, "advanced": ADVANCED}  # fmt: skip
    return Path(
        (by or old).run("start", "--state", write_json(old.program / "state.json", state), "--images", old.outputs.parent / "cats").strip()
    )


def write_json(path: Path, value: dict) -> Path:
    """Write a JSON file and return its path."""
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def supervisor_of(run: Path) -> int:
    """Return the PID of the run's only supervisor."""
    (pid,) = [pid for pid, words in processes_of(run).items() if "fluxgym.launch.supervisor" in words]
    return pid


def test_old_run_is_stopped_and_old_one_that_waited_is_completed(old, current):
    first = start(old, "first", repeats=500)
    start(old, "second", repeats=2)
    current.wait_for_step("first", 2)
    assert Path(f"/proc/{supervisor_of(first)}/cwd").resolve() == old.program  # it is really the old one
    replace_package(old)
    rows = current.sessions()
    assert (rows["first"]["status"], rows["first"]["monitoring"]) == ("running", True)
    assert rows["second"]["status"] == "queued"
    assert current.run("queue").startswith("1. second: ")
    assert "first" in current.call("resume", "first").stderr  # refused in one sentence, for it is alive
    current.run("stop", "first")
    row = current.sessions()["first"]
    assert (row["status"], row["reason_code"]) == ("stopped", "user")
    assert list(first.glob("first-step*-state/manifest.json"))
    assert not processes_of(first)
    row = current.wait_for_status("second", "completed", "failed", "stopped")  # its verifier is the module of the current package
    assert (row["status"], row["progress"]["step"]) == ("completed", 8), row
    steps = max(losses(first))
    current.run("resume", "first")  # by a supervisor of the current code, as the old one's next attempt
    current.wait_for_step("first", steps + 2)
    current.run("stop", "first")
    assert min(losses(first, attempt=2)) == steps + 1


def test_old_run_that_waits_without_supervisor_is_started_from_its_settings(old, current):
    first, second = start(old, "first", repeats=500), start(old, "second", repeats=2)
    current.wait_for_step("first", 2)
    current.wait_for_status("second", "queued")
    os.kill(supervisor_of(second), signal.SIGKILL)
    replace_package(old)
    current.run("stop", "first")
    launch = json.loads((second / ".run" / "launch.json").read_text())
    assert "signature" not in launch
    write_json(second / ".run" / "launch.json", launch | {"argv": ["false"], "cwd": str(first)})  # and only from its settings
    start(old, "third", repeats=1, by=current)
    row = current.wait_for_status("second", "completed", "failed", "stopped")
    assert (row["status"], row["progress"]["step"]) == ("completed", 8), row
    assert "signature" in json.loads((second / ".run" / "launch.json").read_text())
    assert current.wait_for_status("third", "completed", "failed", "stopped")["status"] == "completed"


def test_removed_folder_does_not_hide_live_old_supervisor(old, current):
    first = start(old, "first", repeats=500)
    current.wait_for_step("first", 1)
    replace_package(old)
    state = old.program / "state.json"
    shutil.rmtree(first, ignore_errors=True)
    refused = current.call("start", "--state", state, "--images", old.outputs.parent / "cats", "--if-exists", "replace")
    assert refused.returncode == 2
    assert any(str(pid) in refused.stderr for pid in processes_of(first)), refused.stderr


@pytest.mark.parametrize("module", ["fluxgym.launch.supervisor", "fluxgym.launch.verify", "fluxgym.sessions.removal"])
def test_old_entry_points_exist(module, current, tmp_path):
    """Without arguments, each fails in its own code; a module that does not exist is another error."""
    done = subprocess.run(
        [sys.executable, "-m", module], cwd=current.program, env=environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert "No module named" not in done.stderr
    assert "IndexError" in done.stderr


def test_verifier_accepts_arguments_of_earlier_versions(old):
    replace_package(old)
    argv = [sys.executable, "-m", "fluxgym.launch.verify", str(old.outputs / "cat" / "cat.safetensors"), "0.0", "8", "8"]
    done = subprocess.run(argv, cwd=old.program, env=environment(), capture_output=True, text=True, timeout=60, check=True)
    assert '"ok": false' in done.stdout
    assert "cat.safetensors" in done.stdout

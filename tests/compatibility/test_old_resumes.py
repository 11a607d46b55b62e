"""Runs of the old code continue in the current code: to their end, from the step they had reached, with the caches that exist.

Only the command line is used, so that no move of a module changes this file. These are real trainings; the quick tests are in test_old_outputs.py.
"""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from library.placement.cpu import multiplies_bfloat16
from tests.compatibility.old_version import HERE, losses, unpack_outputs
from tests.support.fake_kohya import write_checkout

RECORDED = json.loads((HERE / "recorded" / "outputs.json").read_text(encoding="utf-8"))
LATER_STEPS = {int(step): loss for step, loss in RECORDED["losses of stopped-cat resumed"].items()}


@pytest.fixture(name="old")
def fixture_old(tmp_path):
    return unpack_outputs(tmp_path)


def cache_files(run: Path) -> dict[str, int]:
    """Return the cache files of a run and their inodes; a file that is written again is another inode, as files are renamed into place."""
    return {path.name: path.stat().st_ino for path in (run / "dataset" / ".fluxgym-cache").glob("*.safetensors")}


def test_stopped_run_is_resumed_to_its_end_with_its_caches_and_its_losses(old):
    run = old.outputs / "stopped-cat"
    before = cache_files(run)
    assert len(before) == 12  # 4 images as they are and mirrored, with 4 captions
    old.run("resume", "stopped-cat", "--wait")
    row = old.sessions()["stopped-cat"]
    assert (row["status"], row["progress"]["step"], row["progress"]["total_steps"]) == ("completed", 24, 24)
    assert before.items() <= cache_files(run).items()
    if multiplies_bfloat16():  # else the trainer computes in float32, for which it encodes once more
        assert cache_files(run) == before  # nothing was encoded again, under no other name either
    assert losses(run, attempt=2) == pytest.approx(LATER_STEPS, rel=0.05)  # other kinds of CPU round differently
    assert losses(run, attempt=1).keys() == set(range(1, 15))


def test_interrupted_run_continues_from_its_furthest_checkpoint(old):
    old.run("resume", "interrupted-cat", "--agree", "take-over")  # it ran on another machine
    old.wait_for_step("interrupted-cat", 28)
    old.run("stop", "interrupted-cat")
    row = old.sessions()["interrupted-cat"]
    assert (row["status"], row["reason_code"]) == ("stopped", "user")
    assert min(losses(old.outputs / "interrupted-cat", attempt=2)) == 26


def test_completed_run_is_trained_further(old):
    old.run("resume", "done-cat", "--epochs", 3, "--wait")
    assert old.sessions()["done-cat"]["progress"]["step"] == 12


def test_run_of_kohya_checkout_continues_after_its_last_state(tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE_STEP_S", "0.01")
    kohya = write_checkout(tmp_path / "kohya")
    old = replace(unpack_outputs(tmp_path, kohya), sd_scripts=kohya)
    old.run("resume", "kohya-cat", "--agree", "code", "--wait")  # its checkpoint has pickles, and its launch.json is not signed
    row = old.sessions()["kohya-cat"]
    assert (row["status"], row["progress"]["step"]) == ("completed", 48)


def test_copy_that_was_never_started_is_started_under_its_name(old, tmp_path):
    state = json.loads((old.outputs / "copied-cat" / "ui_state.json").read_text(encoding="utf-8"))
    (tmp_path / "state.json").write_text(json.dumps(state), encoding="utf-8")
    (old.outputs / ".fluxgym" / "queue" / "queued-cat.json").unlink()  # any start brings it back, and it would train too
    old.run("start", "--state", tmp_path / "state.json", "--images", old.outputs / "copied-cat" / "dataset", "--wait")
    assert old.sessions()["copied-cat"]["status"] == "completed"
    after = json.loads((old.outputs / "copied-cat" / "ui_state.json").read_text(encoding="utf-8"))
    assert after["parent"] == state["parent"]

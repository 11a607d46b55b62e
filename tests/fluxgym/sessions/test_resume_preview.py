"""The preview of Resume has the numbers that the resumed run will reach."""

import json

import pytest

from fluxgym.runs.exit_record import ExitRecord, write_exit_record
from fluxgym.runs.launch_spec import LaunchSpec, write_launch_spec
from fluxgym.runs.snapshot import RunSnapshot
from fluxgym.runs.state import update_state
from fluxgym.sessions.resume import resume_preview
from tests.support.runs import make_run


@pytest.fixture(name="run")
def fixture_run(tmp_path):
    run = make_run(tmp_path, status="stopped", max_train_epochs=16)
    write_launch_spec(run, LaunchSpec(run_id="id-cat", attempt=1, trainer_dir="/", max_train_epochs=16))
    folder = run.folder / "cat-000004-state"
    folder.mkdir()
    (folder / "manifest.json").write_text(json.dumps({"files": {}, "step": 320, "epoch": 4, "total_steps": 960}))
    return run


def test_resume_message_names_epoch_and_step(run):
    assert resume_preview(RunSnapshot.read(run)).message() == "after epoch 4, at step 320 of 960"
    run.progress.write_text(json.dumps({"attempt": 1, "phase": "training", "step": 321, "loss": 0.1, "s_per_it": 2.0}) + "\n")
    assert resume_preview(RunSnapshot.read(run)).message() == "after epoch 4, at step 320 of 960, about 21 min left"


@pytest.mark.parametrize(
    ("name", "step", "epoch", "words"),
    [
        ("cat-step00000009-state", 9, 1, "in epoch 2, at step 9 of 128"),  # 8 steps per epoch
        ("cat-step00000003-state", 3, 0, "in epoch 1, at step 3 of 128"),
        ("cat-step00000016-state", 16, 2, "after epoch 2, at step 16 of 128"),
        ("cat-state", 128, 16, "after epoch 16, at step 128 of 256"),
    ],
)
def test_resume_message_names_epoch_inside_training(run, name, step, epoch, words):
    (run.folder / "cat-000004-state" / "manifest.json").unlink()
    (run.folder / name).mkdir()
    (run.folder / name / "manifest.json").write_text(json.dumps({"files": {}, "step": step, "epoch": epoch, "total_steps": 128}))
    if step == 128:
        update_state(run, {"max_train_epochs": 32})
    assert resume_preview(RunSnapshot.read(run)).message() == words


def test_epochs_changed_by_hand_change_total(run):
    update_state(run, {"max_train_epochs": 20})
    assert resume_preview(RunSnapshot.read(run)).total_steps == 1200
    update_state(run, {"max_train_epochs": 4})
    assert resume_preview(RunSnapshot.read(run)) is None
    update_state(run, {"max_train_epochs": "many"})
    assert resume_preview(RunSnapshot.read(run)).total_steps == 960


def test_completed_run_is_offered_only_when_it_got_more_epochs(run):
    write_exit_record(run, ExitRecord(run_id="id-cat", attempt=1, status="completed", reason_code="", reason="", last_step=960))
    assert resume_preview(RunSnapshot.read(run)) is None
    update_state(run, {"max_train_epochs": 20})
    assert (resume_preview(RunSnapshot.read(run)).step, resume_preview(RunSnapshot.read(run)).total_steps) == (320, 1200)


def test_run_without_settings_has_no_resume_preview(run):
    run.ui_state.unlink()
    assert resume_preview(RunSnapshot.read(run)) is None

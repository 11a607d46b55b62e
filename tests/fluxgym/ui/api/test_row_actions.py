"""What the page offers for a run in each situation: its next step, its menu, the state of its page, and what a stop does."""

from dataclasses import replace
from pathlib import Path

import pytest

from fluxgym.contract.codes import Phase, Status
from fluxgym.runs.checkpoints import Checkpoint
from fluxgym.sessions.origin import Origin
from fluxgym.ui.api.row_actions import ResumeButton, RunSituation, kill_text, menu_items, next_step, page_state, stop_text

STOPPED = RunSituation(status=Status.STOPPED, origin=Origin.TRAINED, is_stopping=False, is_executing=False, lora=None, resume=None)
LORA = "runs/cat/loras/cat.safetensors"
RESUME = ResumeButton(label="Resume from step 4", help="Continues in epoch 1, at step 4 of 10")


@pytest.mark.parametrize(
    ("changes", "action", "text"),
    [
        ({"status": "running", "is_stopping": True}, "kill", "Stop now…"),
        ({"status": "queued", "is_stopping": True}, "kill", "Stop now…"),
        ({"status": "queued"}, "cancel", "Cancel"),
        ({"status": "starting"}, "stop", "Stop…"),
        ({"status": "running", "lora": LORA}, "stop", "Stop…"),
        ({"is_executing": True, "lora": LORA}, "stop", "Stop…"),
        ({"status": "unreadable", "lora": LORA}, "repair", "Repair"),
        ({"resume": RESUME, "lora": LORA}, "resume", "Resume from step 4"),
        ({"status": "failed", "resume": RESUME}, "resume", "Resume from step 4"),
        ({"origin": "copy"}, "load", "Edit as new training"),
        ({"origin": "import"}, "load", "Edit as new training"),
        ({"origin": "import", "lora": LORA}, "download", "Download"),
        ({"status": "completed", "lora": LORA}, "download", "Download"),
        ({"status": "failed", "lora": LORA}, "load", "Edit as new training"),
        ({"status": "failed"}, "load", "Edit as new training"),
        ({}, "load", "Edit as new training"),
        ({"status": "completed"}, "load", "Edit as new training"),
        ({"can_start": True}, "start", "Start again"),
        ({"can_start": True, "origin": "copy"}, "start", "Start"),
        ({"can_start": True, "origin": "import"}, "start", "Start"),
        ({"can_start": True, "status": "failed", "origin": "copy", "reason_code": "launch"}, "start", "Start again"),
        ({"can_start": True, "status": "failed", "reason_code": "disk_full"}, "start", "Start again"),
        ({"can_start": True, "status": "failed", "reason_code": "cuda_oom"}, "load", "Edit as new training"),
        ({"can_start": True, "is_executing": True}, "stop", "Stop…"),
    ],
)
def test_next_step_depends_on_status_of_run(changes, action, text):
    step = next_step(situation(**changes))
    assert (step.action, step.text, step.href) == (action, text, LORA if action == "download" else None)
    assert step.help


def situation(**changes):
    kinds = {"status": Status, "origin": Origin}
    return replace(STOPPED, **{name: kinds[name](value) if name in kinds else value for name, value in changes.items()})


SETTINGS = ["duplicate", "history", "template", "export"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"status": "queued"}, ["next", "edit", *SETTINGS]),
        ({"status": "queued", "is_next": True}, ["edit", *SETTINGS]),
        ({"status": "running"}, ["edit", *SETTINGS]),
        ({"is_executing": True}, ["edit", *SETTINGS]),
        ({"resume": RESUME}, ["edit", *SETTINGS, "forget", "delete"]),
        ({}, [*SETTINGS, "forget", "delete"]),  # the button loads the settings
        ({"can_start": True}, ["edit", *SETTINGS, "forget", "delete"]),
        ({"status": "unreadable"}, ["forget", "delete"]),
    ],
)
def test_menu_offers_possible_actions(changes, expected):
    run = situation(**changes)
    assert menu_items(run, next_step(run)) == expected


@pytest.mark.parametrize(
    ("status", "origin", "state"),
    [
        ("starting", "trained", "live"), ("queued", "copy", "live"), ("running", "trained", "live"), ("completed", "trained", "done"),
        ("completed", "import", "done"), ("stopped", "trained", "ended"), ("failed", "copy", "ended"), ("unreadable", "trained", "ended"),
        ("stopped", "copy", "new"), ("stopped", "import", "new"),
    ],
)  # fmt: skip
def test_page_of_copy_or_import_is_new_until_it_was_started(status, origin, state):
    assert page_state(Status(status), Origin(origin)) == state


@pytest.mark.parametrize("phase", [Phase.TRAINING, Phase.SAMPLING, Phase.VALIDATING, Phase.SAVING])
def test_stop_while_it_trains_saves_checkpoint(phase):
    text = "The trainer finishes the current step, saves a checkpoint and ends. You can resume it from there. It is at step 1,234."
    assert stop_text({"phase": phase.value, "step": 1234}) == text
    assert stop_text({"phase": phase.value, "step": 0}).startswith("Nothing has been trained yet")


def test_stop_while_it_does_not_train_saves_nothing():
    assert stop_text({}).startswith("Nothing has been trained yet")
    assert stop_text({"step": 40}).startswith("It has not trained since it was resumed.")
    assert stop_text({"step": 40, "phase": "loading"}).startswith("It has not trained since it was resumed.")
    assert stop_text({"step": 40, "phase": "verifying"}).startswith("The training is done and the LoRA is being checked.")


@pytest.mark.parametrize(
    ("progress", "checkpoints", "text"),
    [
        ({}, [], "Nothing has been trained yet."),
        ({"phase": "caching", "item": 3}, [], "Nothing has been trained yet."),
        ({"phase": "loading", "step": 40}, [40], "No trained step is lost."),
        ({"phase": "training", "step": 41}, [20, 40], "1 step since the last checkpoint is lost."),
        ({"phase": "training", "step": 1200}, [], "There is no checkpoint, so all 1,200 steps are lost."),
        ({"phase": "training", "step": 25}, [20, 40], "5 steps since the last checkpoint are lost."),  # resumed from an earlier one
    ],
)
def test_immediate_stop_counts_steps_that_it_loses(progress, checkpoints, text):
    complete = [Checkpoint(folder=Path("x"), step=step, epoch=1, total_steps=90, written_at=0.0) for step in checkpoints]
    assert kill_text(progress, complete) == f"Ends the trainer at once. {text}"

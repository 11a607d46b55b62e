"""The parts of a run's page say what is known: facts, LoRA files with their validation loss, settings that differ, the monitor and the history."""

import os

import pytest

from fluxgym.config.settings import SETTINGS
from fluxgym.contract.codes import Status
from fluxgym.runs.exit_record import ExitRecord, write_exit_record
from fluxgym.runs.paths import OutputsPaths
from fluxgym.runs.process_identity import identify
from fluxgym.runs.state import read_state, update_state
from fluxgym.sessions.history import save_version
from fluxgym.sessions.listing import session_of
from fluxgym.ui.api import run_parts
from fluxgym.ui.api.loss_curve import NO_RECORD, TrainingRecord
from tests.support.photos import write_cats
from tests.support.runs import dead_process, make_run, record_processes, write_checkpoint
from tests.support.small_world import small_world, write_safetensors

RECORD = TrainingRecord(validation={20: 0.3, 40: 0.2, 60: 0.25}, epoch_ends={1: 20, 2: 40, 3: 60}, spans={1: (1000.0, 1060.0)})


@pytest.fixture(name="settings")
def fixture_settings(tmp_path):
    return small_world(tmp_path)


@pytest.fixture(name="run")
def fixture_run(settings):
    return make_run(settings.outputs, "cat", base_model="pocket", concept_sentence="sks cat", status="completed", timestamp=900.0)


def end(run, *, attempt=1, last_step=60, started_at=1000.0, ended_at=1090.0):
    """Record the end of an attempt."""
    write_exit_record(
        run,
        ExitRecord(
            run_id="id-cat", attempt=attempt, status="completed", reason_code="", reason="", started_at=started_at, ended_at=ended_at,
            last_step=last_step,
        ),
    )  # fmt: skip


def facts(run, settings, record=NO_RECORD):
    """Return a run's facts."""
    return run_parts.facts(run, read_state(run), record, settings.models, session=session_of(run))


def test_facts_name_model_trigger_images_and_times(run, settings):
    write_cats(run.dataset, count=3, size=64)
    record_processes(run, "id-cat", 1, None, dead_process("id-cat"), started_at=1000.0)
    end(run)
    found = facts(run, settings, RECORD)
    assert (found.model, found.trigger, found.num_images) == ("Pocket Flux", "sks cat", 3)
    assert (found.queued_at, found.began_at, found.trained_s) == (900.0, 1000.0, 90.0)


def test_facts_of_a_run_that_did_not_wait_name_one_time(run, settings):
    record_processes(run, "id-cat", 1, None, dead_process("id-cat"), started_at=901.0)
    assert (facts(run, settings).queued_at, facts(run, settings).began_at) == (None, 901.0)


def test_facts_of_a_run_that_was_not_started_have_no_start_and_no_duration(run, settings):
    update_state(run, {"parent": {"slug": "dog", "run_id": "x"}, "base_model": "gone"})
    found = facts(run, settings)
    assert (found.began_at, found.trained_s, found.parent, found.model) == (None, None, "dog", "gone")


def test_duration_adds_all_attempts_without_the_time_between(run, settings):
    record = TrainingRecord(validation={}, epoch_ends={}, spans={1: (1000.0, 1060.0), 2: (5000.0, 5010.0)})
    end(run, attempt=2, started_at=4995.0, ended_at=5020.0)
    assert facts(run, settings, record).trained_s == 60 + 25


@pytest.mark.parametrize(
    ("status", "has_checkpoint", "expected"), [("completed", True, True), ("completed", False, False), ("stopped", True, False)]
)
def test_only_a_completed_run_with_a_checkpoint_can_be_trained_further(run, settings, status, has_checkpoint, expected):
    update_state(run, {"status": status})
    if has_checkpoint:
        write_checkpoint(run, "cat-state", 60)
    assert facts(run, settings).can_train_further is expected


def names(run, record=RECORD, status=Status.COMPLETED):
    """Return the LoRA files."""
    return run_parts.lora_files(run, record, status=status)


def test_lora_files_have_epoch_step_and_validation_loss_where_known(run):
    for name in ("cat.safetensors", "cat-000001.safetensors", "cat-step00000040.safetensors", "cat-000009.safetensors"):
        write_safetensors(run.folder / name, 2_500_000)
    end(run)
    found = {file.name: (file.epoch, file.step, file.val_loss, file.is_final) for file in names(run).files}
    assert found == {
        "cat.safetensors": (3, 60, 0.25, True), "cat-step00000040.safetensors": (None, 40, 0.2, False),
        "cat-000001.safetensors": (1, 20, 0.3, False), "cat-000009.safetensors": (9, None, None, False),
    }  # fmt: skip
    assert list(found)[:3] == ["cat.safetensors", "cat-step00000040.safetensors", "cat-000001.safetensors"]
    assert names(run).files[0].size == "2.5 MB"
    assert names(run).files[0].url == "runs/cat/loras/cat.safetensors"


def test_best_file_has_the_lowest_validation_loss(run):
    for name in ("cat.safetensors", "cat-000001.safetensors", "cat-000002.safetensors"):
        write_safetensors(run.folder / name)
    end(run)
    assert names(run).best == "cat-000002.safetensors"
    assert "0.200" in names(run).why
    assert (names(run, status=Status.STOPPED).best, names(run, status=Status.STOPPED).why) == (None, "")


def test_best_file_without_validation_is_the_trained_model(run):
    for name in ("cat.safetensors", "cat-000001.safetensors"):
        write_safetensors(run.folder / name)
    found = names(run, NO_RECORD)
    assert found.best == "cat.safetensors"
    assert "last epoch" in found.why
    assert (found.files[0].epoch, found.files[0].step) == (None, None)


def test_run_without_files_has_no_best_one(run):
    assert names(run).files == []
    assert (names(run).best, names(run).why) == (None, "")


def test_a_stopped_run_can_be_resumed_from_its_earlier_checkpoints(run):
    for step in (20, 40):
        write_safetensors(run.folder / f"cat-step{step:08d}.safetensors")
        write_checkpoint(run, f"cat-step{step:08d}-state", step)
    found = {file.step: file.checkpoint for file in names(run, status=Status.STOPPED).files}
    assert found == {20: "cat-step00000020-state", 40: None}  # the newest is what Resume takes
    assert {file.checkpoint for file in names(run, status=Status.RUNNING).files} == {None}


def rows(run, settings, parent=None):
    """Return value, default and the parent's value by the setting's label."""
    found = run_parts.setting_rows(read_state(run), parent, settings.models)
    return {row.name: (row.value, row.default, row.parent) for row in found}


def test_settings_name_the_models_default_where_the_value_differs(run, settings):
    update_state(run, {"max_train_epochs": 32, "num_repeats": 7, "seed": 1, "advanced": {"network_alpha": 16, "max_grad_norm": 0.5}})
    found = rows(run, settings)
    assert found["max_train_epochs"] == ("32", None, None)  # the pocket model's default, not FluxGym's 16
    assert found["num_repeats"] == ("7", "10", None)
    assert found["seed"] == ("1", "42", None)
    assert found["network_alpha"] == ("16", None, None)
    assert found["max_grad_norm"] == ("0.5", "1.0", None)
    assert found["concept_sentence"][1] is None


def test_settings_name_what_differs_from_the_parent(run, settings):
    update_state(run, {"seed": 42, "num_repeats": 10})
    found = rows(run, settings, {"seed": 7, "num_repeats": 10, "lora_name": "dog"})
    assert found["seed"] == ("42", None, "7")
    assert found["num_repeats"] == ("10", None, None)
    assert found["lora_name"][2] is None


def test_settings_have_the_labels_of_the_form_and_a_damaged_state_has_none(run, settings):
    update_state(run, {"seed": 1})
    found = run_parts.setting_rows(read_state(run), None, settings.models)
    assert {row.name: row.label for row in found}["seed"] == SETTINGS["seed"].label
    assert run_parts.setting_rows({}, None, settings.models) == []


@pytest.mark.parametrize("parent", [None, "dog", {}, {"slug": 7}, {"slug": ""}, {"slug": "../x"}, {"slug": "gone"}])
def test_parent_that_is_missing_is_ignored(settings, parent):
    assert run_parts.parent_state(OutputsPaths(settings.outputs), {"parent": parent}) is None


def test_history_has_the_changes_since_each_version(run):
    update_state(run, {"max_train_epochs": 4})
    save_version(run)
    update_state(run, {"max_train_epochs": 9})
    save_version(run)
    found = run_parts.versions(run, read_state(run), status=Status.STOPPED)
    assert [(version.changes, version.can_restore) for version in found] == [([], False), (["max_train_epochs: 4 → 9"], True)]


@pytest.mark.parametrize("status", Status)
def test_earlier_settings_of_a_run_that_stopped_or_failed_can_be_restored(run, status):
    save_version(run)
    update_state(run, {"max_train_epochs": 9})
    (version,) = run_parts.versions(run, read_state(run), status=status)
    assert version.can_restore is (status in (Status.STOPPED, Status.FAILED))


def test_earlier_settings_cannot_be_restored_while_a_process_of_the_run_is_alive(run):
    save_version(run)
    update_state(run, {"max_train_epochs": 9})
    me = identify(os.getpid(), "id-cat")
    record_processes(run, "id-cat", 1, me, me)
    (version,) = run_parts.versions(run, read_state(run), status=Status.STOPPED)
    assert not version.can_restore


def test_a_run_whose_monitoring_is_off_is_watched_all_the_same(run):
    assert not run_parts.monitor(run).is_alive
    me = identify(os.getpid(), "id-cat")
    record_processes(run, "id-cat", 1, me, me)
    assert (run_parts.monitor(run).is_alive, run_parts.monitor(run).pid) == (True, None)
    run.monitor_pid.write_text(str(os.getpid()))
    assert (run_parts.monitor(run).is_alive, run_parts.monitor(run).pid) == (True, os.getpid())

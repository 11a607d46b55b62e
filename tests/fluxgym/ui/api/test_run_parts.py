"""The parts of a run's page: facts, LoRA files with their validation loss, settings that differ, the monitor and the history."""

import os

import pytest

from fluxgym.contract.codes import Status
from fluxgym.runs.exit_record import ExitRecord, write_exit_record
from fluxgym.runs.process_identity import identify
from fluxgym.runs.state import read_state, update_state
from fluxgym.sessions.history import save_version
from fluxgym.sessions.listing import session_of
from fluxgym.sessions.run_metrics import NO_RECORD, TrainingRecord
from fluxgym.ui.api import run_parts
from tests.support.photos import write_cats
from tests.support.runs import dead_process, make_run, record_processes, write_checkpoint
from tests.support.small_installation import small_installation, write_safetensors
from tests.support.trained_runs import record_end

RECORD = TrainingRecord(validation={20: 0.3, 40: 0.2, 60: 0.25}, epoch_ends={1: 20, 2: 40, 3: 60}, spans={1: (1000.0, 1060.0)})


@pytest.fixture(name="settings")
def fixture_settings(tmp_path):
    return small_installation(tmp_path)


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
    return run_parts.run_summary(run, read_state(run), record, settings.models, session=session_of(run))


def test_facts_name_model_trigger_images_and_times(run, settings):
    write_cats(run.dataset, count=3, size=64)
    record_processes(run, "id-cat", 1, None, dead_process("id-cat"), started_at=1000.0)
    end(run)
    found = facts(run, settings, RECORD)
    assert (found.model, found.trigger, found.num_images) == ("Pocket Flux", "sks cat", 3)
    assert (found.queued_at, found.trained_s) == (900.0, 90.0)


def test_facts_of_run_that_did_not_wait_name_no_time(run, settings):
    record_processes(run, "id-cat", 1, None, dead_process("id-cat"), started_at=901.0)
    assert facts(run, settings).queued_at is None


def test_facts_of_run_that_was_not_started_have_no_duration(run, settings):
    update_state(run, {"parent": {"slug": "dog", "run_id": "x"}, "base_model": "gone"})
    found = facts(run, settings)
    assert (found.trained_s, found.parent, found.model) == (None, "dog", "gone")


def test_duration_adds_all_attempts_without_time_between(run, settings):
    record = TrainingRecord(validation={}, epoch_ends={}, spans={1: (1000.0, 1060.0), 2: (5000.0, 5010.0)})
    end(run, attempt=2, started_at=4995.0, ended_at=5020.0)
    assert facts(run, settings, record).trained_s == 60 + 25


@pytest.mark.parametrize(
    ("status", "has_checkpoint", "expected"), [("completed", True, True), ("completed", False, False), ("stopped", True, False)]
)
def test_only_completed_run_with_checkpoint_can_be_trained_further(run, settings, status, has_checkpoint, expected):
    update_state(run, {"status": status})
    if has_checkpoint:
        write_checkpoint(run, "cat-state", 60)
    assert facts(run, settings).can_train_further is expected


def names(run, record=RECORD, status=Status.COMPLETED):
    """Return the LoRA files."""
    return run_parts.lora_files(run, record, status=status)


def test_lora_files_have_address_path_and_size(run):
    write_safetensors(run.lora, 2_500_000)
    (file,) = names(run).files
    assert (file.name, file.size, file.url) == ("cat.safetensors", "2.5 MB", "runs/cat/loras/cat.safetensors")
    assert file.path == str(run.folder / "cat.safetensors")


@pytest.mark.parametrize(
    ("record", "best", "why"), [(RECORD, "cat-000002.safetensors", "0.200"), (NO_RECORD, "cat.safetensors", "last epoch")]
)
def test_best_file_of_completed_run_shows_reason(run, record, best, why):
    for name in ("cat.safetensors", "cat-000001.safetensors", "cat-000002.safetensors"):
        write_safetensors(run.folder / name)
    end(run)
    assert names(run, record).best == best
    assert why in names(run, record).why
    assert (names(run, record, Status.STOPPED).best, names(run, record, Status.STOPPED).why) == (None, "")


def test_run_without_files_has_no_best_one(run):
    assert names(run).files == []
    assert (names(run).best, names(run).why) == (None, "")


@pytest.mark.parametrize("parent", [None, "dog", {}, {"slug": 7}, {"slug": ""}, {"slug": "../x"}, {"slug": "gone"}])
def test_parent_that_is_missing_is_ignored(run, parent):
    assert run_parts.parent_state(run, {"parent": parent}) is None


def test_settings_of_copy_name_values_of_its_parent(run, settings):
    update_state(make_run(settings.outputs, "dog", seed=7), {"run_id": "x"})
    update_state(run, {"seed": 8, "parent": {"slug": "dog", "run_id": "x"}})
    assert {row.label: row.parent for row in run_parts.setting_rows(run, read_state(run), settings.models)}["Seed"] == "7"


def test_history_contains_reason_for_each_version(run, settings):
    for changes in ({"max_train_epochs": 9}, {"max_train_epochs": 16, "enable_checkpointing": False}, {}):
        save_version(run)
        update_state(run, changes)
    found = run_parts.history_versions(run, read_state(run), settings.models, status=Status.STOPPED)
    shown = [[(change.label, change.before, change.after) for change in version.changes] for version in found]
    assert shown == [
        [],
        [("Max train epochs", "9", "16"), ("Enable checkpointing", "not set", "off")],
        [("Max train epochs", "1", "9")],
    ]
    assert [version.can_restore for version in found] == [False, True, True]


def test_history_does_not_offer_to_restore_another_name(run, settings):
    save_version(run)
    update_state(run, {"lora_name": "dup2"})
    (version,) = run_parts.history_versions(run, read_state(run), settings.models, status=Status.STOPPED)
    assert (version.changes, version.can_restore) == ([], False)


def test_history_reports_after_which_step_run_was_resumed(run, settings):
    record_end(run, "stopped", reason_code="user", last_step=78)
    save_version(run)
    (version,) = run_parts.history_versions(run, read_state(run), settings.models, status=Status.STOPPED)
    assert (version.changes, version.resumed_after) == ([], 78)
    update_state(run, {"run_id": "another start"})
    (version,) = run_parts.history_versions(run, read_state(run), settings.models, status=Status.STOPPED)
    assert version.resumed_after is None


@pytest.mark.parametrize("status", Status)
def test_earlier_settings_of_run_that_stopped_or_failed_can_be_restored(run, settings, status):
    save_version(run)
    update_state(run, {"max_train_epochs": 9})
    (version,) = run_parts.history_versions(run, read_state(run), settings.models, status=status)
    assert version.can_restore is (status in (Status.STOPPED, Status.FAILED))


def test_earlier_settings_cannot_be_restored_while_process_of_run_is_alive(run, settings):
    save_version(run)
    update_state(run, {"max_train_epochs": 9})
    me = identify(os.getpid(), "id-cat")
    record_processes(run, "id-cat", 1, me, me)
    (version,) = run_parts.history_versions(run, read_state(run), settings.models, status=Status.STOPPED)
    assert not version.can_restore


def test_run_without_monitoring_still_has_supervisor(run):
    assert not run_parts.monitor_state(run).is_alive
    me = identify(os.getpid(), "id-cat")
    record_processes(run, "id-cat", 1, me, me)
    assert (run_parts.monitor_state(run).is_alive, run_parts.monitor_state(run).pid) == (True, None)
    run.monitor_pid.write_text(str(os.getpid()))
    assert (run_parts.monitor_state(run).is_alive, run_parts.monitor_state(run).pid) == (True, os.getpid())

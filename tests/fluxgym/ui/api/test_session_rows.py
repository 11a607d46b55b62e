"""Times and states in a row: the label of its date names the event."""

import json
import time
from dataclasses import replace

import pytest

from fluxgym.contract.codes import Phase, Status
from fluxgym.runs.paths import OutputsPaths
from fluxgym.sessions.listing import session_of
from fluxgym.sessions.status_display import STATUS_WORDS
from fluxgym.sessions.transfer import Export, export_archive, import_file
from fluxgym.supervisor.finalize import record_outcome
from fluxgym.supervisor.supervisor import CANCELED
from fluxgym.ui.api.session_rows import PHASE_TEXTS, SHAPES, SessionRows, activity_of
from tests.support.runs import dead_process, make_run, make_spec, record_processes
from tests.support.small_installation import small_installation


@pytest.fixture
def settings(tmp_path):
    """Return folders of this test."""
    return small_installation(tmp_path)


def row_of(settings, run):
    return SessionRows(settings).row_of(run)


def test_run_that_waited_started_when_its_trainer_did(settings):
    run = make_run(settings.outputs, status="completed", timestamp=1000.0)
    record_processes(run, "id-cat", 1, None, dead_process("id-cat"), started_at=1600.0)
    row = row_of(settings, run)
    assert (row.began, row.started) == ("Started", 1600.0)


def test_run_that_was_canceled_while_it_waited_was_queued_and_never_started(settings):
    run = make_run(settings.outputs, status="stopped", timestamp=1000.0)
    record_processes(run, "id-cat", 1, None, None, started_at=1001.0)  # its supervisor's
    record_outcome(run, make_spec(run, ""), CANCELED)
    row = row_of(settings, run)
    assert (row.began, row.started) == ("Queued", 1000.0)


@pytest.mark.parametrize("status", ["completed", "running", "stopped"])
def test_resumed_run_that_waited_at_first_keeps_start_of_its_first_trainer(settings, status):
    run = make_run(settings.outputs, status=status, timestamp=1000.0)
    run.progress.write_text('{"time": 1600.0, "attempt": 1, "phase": "starting"}\n{"time": 5001.0, "attempt": 2, "phase": "starting"}\n')
    record_processes(run, "id-cat", 2, None, dead_process("id-cat"), started_at=5000.0)
    row = row_of(settings, run)
    assert (row.began, row.started) == ("Started", 1600.0)


def test_resumed_run_keeps_its_first_start(settings):
    run = make_run(settings.outputs, status="completed", timestamp=1000.0)
    record_processes(run, "id-cat", 2, None, None, started_at=5000.0)
    row = row_of(settings, run)
    assert (row.began, row.started, row.attempt) == ("Started", 1000.0, 2)


def test_unreadable_state_has_no_start_time(settings):
    run = make_run(settings.outputs, status="completed")
    run.ui_state.write_text("{")
    assert row_of(settings, run).began == "Changed"


def test_import_with_its_lora_was_trained_elsewhere(settings, tmp_path):
    source = make_run(tmp_path / "other", status="completed", timestamp=1000.0, completed_at=1600.0)
    source.lora.write_bytes(b"x")
    now = pytest.approx(time.time(), abs=60)
    for what, word, started in ((Export(lora=True), "Trained", 1600.0), (Export(), "Imported", now)):
        export_archive([source], tmp_path / "x.zip", what)
        (run,) = import_file(tmp_path / "x.zip", OutputsPaths(settings.outputs))
        row = row_of(settings, run)
        assert (row.began, row.shown.word, row.origin) == (word, "Imported", "import")
        assert row.started == started
        assert row.reason == "It was not trained here."  # beside the word “Imported”


def test_import_whose_end_is_not_known_does_not_tell_when_it_was_trained(settings, tmp_path):
    source = make_run(tmp_path / "other", status="stopped", timestamp=1000.0)
    source.lora.write_bytes(b"x")
    export_archive([source], tmp_path / "x.zip", Export(lora=True))
    (run,) = import_file(tmp_path / "x.zip", OutputsPaths(settings.outputs))
    assert row_of(settings, run).began == "Imported"


def test_lora_of_run_can_be_downloaded(settings):
    run = make_run(settings.outputs, "big cat", status="completed")
    assert row_of(settings, run).lora is None
    run.lora.write_bytes(b"x")
    assert row_of(settings, run).lora == "runs/big%20cat/loras/big%20cat.safetensors"


@pytest.mark.parametrize("value", ["soon", -5, 1e300, None])
def test_invalid_end_time_is_unknown(settings, value):
    run = make_run(settings.outputs, status="completed", completed_at=value)
    assert row_of(settings, run).ended is None
    run.exit.write_text(json.dumps({"run_id": "x", "attempt": 1, "status": "completed", "reason": "", "reason_code": "", "ended_at": 50.0}))
    assert row_of(settings, run).ended == 50.0


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ({}, "Loading the trainer"), ({"phase": "training", "step": 3}, ""), ({"phase": "saving"}, "Saving"),
        ({"phase": "caching", "item": 3, "num_items": 20}, "Preparing the images, 3 of 20"), ({"phase": "of a newer trainer"}, "of a newer trainer"),
    ],
)  # fmt: skip
def test_running_run_shows_phase_other_than_training(settings, line, text):
    session = session_of(make_run(settings.outputs))
    assert activity_of(replace(session, status=Status.RUNNING, progress=line)) == text
    assert activity_of(replace(session, status=Status.STOPPED, progress=line)) == ""


def test_every_status_and_phase_has_texts():
    assert set(STATUS_WORDS) == set(SHAPES) == set(Status)
    assert set(PHASE_TEXTS) == set(Phase) - {Phase.TRAINING}


@pytest.mark.parametrize(
    ("reason", "expected"), [("Stopped by you at step 410 of 1200.", True), ("Stopped by you at step 41 of 120.", False), ("", False)]
)
def test_row_has_its_steps_as_numbers_and_knows_whether_its_reason_names_them(settings, reason, expected):
    run = make_run(settings.outputs, status="stopped", reason=reason)
    run.progress.write_text('{"time": 1.0, "attempt": 1, "phase": "training", "step": 410, "total_steps": 1200}\n')
    row = row_of(settings, run)
    assert (row.step, row.total_steps, row.reason_names_step) == (410, 1200, expected)

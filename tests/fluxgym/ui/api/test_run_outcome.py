"""A run that ended early is explained: the cause, the lines of the log that show it, how its trainer ended, and what to do."""

import pytest

from fluxgym.runs.exit_record import ExitRecord, write_exit_record
from fluxgym.sessions.listing import session_of
from fluxgym.sessions.origin import IMPORTED, Origin
from fluxgym.ui.api.run_outcome import EVIDENCE_LINES, MAX_LINE, evidence, run_outcome
from tests.support.photos import write_cats
from tests.support.runs import make_run


def failed(tmp_path, code="cuda_oom", **record):
    """Make a run that failed at step 41."""
    run = make_run(tmp_path, "dog", status="failed", reason_code=code, reason="Why it failed.")
    write_exit_record(
        run,
        ExitRecord(
            **{"run_id": "id-dog", "attempt": 1, "status": "failed", "reason_code": code, "reason": "Why it failed.", "last_step": 41}
            | record
        ),
    )
    return run


def explain(run, origin=Origin.TRAINED):
    return run_outcome(run, session_of(run), origin)


def test_failure_has_cause_evidence_exit_code_and_advice(tmp_path):
    run = failed(tmp_path, exit_code=1)
    run.training_log.write_text("loading\nstep 41\ntorch.OutOfMemoryError: CUDA out of memory.\nGPU 0: 104 MiB free\n\n")
    found = explain(run)
    assert found.title == "The GPU ran out of memory after step 41"
    assert found.reason == "Why it failed."
    assert found.exit == "The trainer ended with exit code 1."
    assert found.evidence == ["torch.OutOfMemoryError: CUDA out of memory.", "GPU 0: 104 MiB free"]
    assert found.advice


def test_signal_is_reported_and_unknown_end_is_not(tmp_path):
    assert explain(failed(tmp_path / "a", signal="SIGKILL")).exit == "The trainer was ended by signal SIGKILL."
    assert explain(failed(tmp_path / "b")).exit == ""
    run = make_run(tmp_path / "c", "dog", status="failed", reason_code="bad_input", reason="x")
    assert (explain(run).exit, explain(run).evidence) == ("", [])


@pytest.mark.parametrize("status", ["completed", "starting"])
def test_run_that_did_not_end_early_has_no_ending(tmp_path, status):
    run = make_run(tmp_path, "dog", status=status)
    assert explain(run) is None


def test_stopped_run_shows_no_evidence(tmp_path):
    run = make_run(tmp_path, "dog", status="stopped", reason_code="user", reason="Stopped by you at step 3 of 9; its state was saved.")
    run.training_log.write_text("error: an old one\n")
    found = explain(run)
    assert (found.title, found.evidence, found.exit, found.advice) == ("Stopped by you", [], "", [])


def test_unstarted_copy_shows_next_step(tmp_path):
    run = make_run(tmp_path, "dog", status="stopped", reason="A copy.")
    found = explain(run, Origin.COPY)
    assert found.title == "Not started yet"
    assert explain(run, Origin.IMPORT).title == "Imported"
    assert "Edit as new training" in found.advice[0]


def test_import_shows_origin_once_and_existing_images_only(tmp_path):
    run = make_run(tmp_path, "dog", status="stopped", reason=IMPORTED)
    found = explain(run, Origin.IMPORT)
    assert (found.title, found.reason) == ("Imported", "It was not trained here.")
    assert "with these settings. " in found.advice[0]
    write_cats(run.dataset, count=1)
    assert [line.split("”")[0] for line in explain(run, Origin.IMPORT).advice] == ["“Start", "“Edit as new training"]
    assert "with these settings and images. " in explain(run, Origin.IMPORT).advice[1]


def test_unreadable_run_is_explained(tmp_path):
    run = make_run(tmp_path, "dog")
    run.ui_state.write_text("{")
    assert "Repair" in explain(run).advice[0]


def test_evidence_begins_at_last_error_and_is_short():
    lines = ["ValueError: first", "more", "", "RuntimeError: " + "x" * 1000, *(f"line {number}" for number in range(20))]
    found = evidence(lines)
    assert found[0].startswith("RuntimeError")
    assert len(found) == EVIDENCE_LINES
    assert len(found[0]) == MAX_LINE


def test_evidence_without_error_is_end_of_log():
    assert evidence([f"line {number}" for number in range(20)])[-1] == "line 19"
    assert evidence([]) == []

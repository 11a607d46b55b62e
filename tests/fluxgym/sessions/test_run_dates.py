"""The dates of runs: one quantity in the order of the lists, in the rows, on the page of a run and in the terminal."""

import json

import pytest

from fluxgym.cli.main import main
from fluxgym.runs.paths import OutputsPaths
from fluxgym.sessions.history import save_version
from fluxgym.sessions.index import SessionIndex
from fluxgym.ui.api.session_rows import SessionRows
from tests.support.runs import dead_process, make_run, record_processes, write_ticket
from tests.support.small_installation import small_installation


@pytest.fixture
def settings(tmp_path):
    """Return folders of this test."""
    return small_installation(tmp_path)


def write_progress(run, *times):
    run.progress.write_text(
        "".join(json.dumps({"time": at, "attempt": index + 1, "phase": "training"}) + "\n" for index, at in enumerate(times))
    )


def write_end(run, **fields):
    end = {"run_id": f"id-{run.slug}", "attempt": 1, "status": "stopped", "reason": "", "reason_code": "user"}
    run.exit.write_text(json.dumps(end | fields))


def test_start_of_resumed_run_is_that_of_its_first_process_not_of_its_first_progress_line(settings):
    run = make_run(settings.outputs, status="stopped", timestamp=1000.0)
    write_end(run, started_at=1001.0)
    save_version(run)
    record_processes(run, "id-cat", 2, None, dead_process("id-cat"), started_at=5000.0)
    write_end(run, attempt=2, started_at=5000.0)
    write_progress(run, 1020.0, 5020.0)
    row = SessionRows(settings).row_of(run)
    assert (row.began, row.started) == ("Started", 1001.0)


def test_start_before_time_in_state_is_shown_as_it_is_recorded(settings):
    run = make_run(settings.outputs, status="stopped", timestamp=1000.0)  # the state was edited, or the clock was set
    record_processes(run, "id-cat", 1, None, dead_process("id-cat"), started_at=990.0)
    row = SessionRows(settings).row_of(run)
    assert (row.began, row.started) == ("Started", 990.0)


def make_runs(settings):
    """Make a run that was requested first and started last, one that still waits, and one between; newest first by what each shows."""
    waited = make_run(settings.outputs, "waited", status="completed", timestamp=1000.0)
    record_processes(waited, "id-waited", 1, None, dead_process("id-waited"), started_at=9000.0)
    between = make_run(settings.outputs, "between", status="completed", timestamp=2000.0)
    record_processes(between, "id-between", 1, None, dead_process("id-between"), started_at=2001.0)
    queued = make_run(settings.outputs, "queued", status="queued", timestamp=500.0)  # a resume: it joined the queue at 1001
    write_ticket(queued)
    return ["waited", "between", "queued"]


def test_list_is_in_order_of_dates_that_its_rows_show(settings):
    expected = make_runs(settings)
    entries = SessionIndex(settings.outputs).entries()
    rows = [SessionRows(settings).row_of(OutputsPaths(settings.outputs).run(entry.slug)) for entry in entries]
    assert [row.slug for row in rows] == expected
    assert [entry.started for entry in entries] == [row.started for row in rows] == [9000.0, 2001.0, 1001.0]


def test_terminal_shows_and_sorts_by_same_dates(settings, capsys):
    expected = make_runs(settings)
    assert main(["sessions", "--outputs", str(settings.outputs)]) == 0
    names = [line.split()[1] for line in capsys.readouterr().out.splitlines() if " - " in line and not line.startswith(" ")]
    assert names == expected

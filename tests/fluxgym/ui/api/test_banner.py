"""The banner: at most three rows, by urgency, and attention only for what the user has not opened."""

import json
import os
import time

import pytest

from fluxgym.runs.process_identity import identify
from fluxgym.runs.state import update_state
from fluxgym.sessions.create import duplicate
from fluxgym.sessions.index import SessionIndex
from fluxgym.ui.api.banner import BannerRoutes
from tests.support.api import router_client, value
from tests.support.opened_files import opened_files
from tests.support.runs import make_run, make_spec, record_processes, write_checkpoint, write_ticket
from tests.support.small_installation import small_installation


@pytest.fixture
def settings(tmp_path):
    """Return folders of this test."""
    return small_installation(tmp_path)


@pytest.fixture
def client(settings):
    """Return a client of the route."""
    return router_client([BannerRoutes(settings, SessionIndex(settings.outputs)).router])


def banner(client, **query):
    """Return the banner."""
    return value(client.get("banner", params=query))


def slugs(answer):
    return [row["slug"] for row in answer["rows"]]


def make(settings, name, status, age=60.0, **state):
    return make_run(settings.outputs, name, status=status, timestamp=time.time() - age, **state)


def run_now(run, **line):
    """Make a run look as if this process trained it."""
    me = identify(os.getpid(), f"id-{run.slug}")
    record_processes(run, f"id-{run.slug}", 1, me, me)
    run.training_pid.write_text(f"{os.getpid()}\n")
    run.progress.write_text(json.dumps({"time": time.time(), "attempt": 1, "phase": "training"} | line) + "\n")


def wait_in_queue(settings, name, position):
    run = make(settings, name, "queued", run_id=f"id-{name}")
    write_ticket(run, position)
    return run


def test_banner_without_runs_is_empty(client):
    answer = banner(client)
    assert answer["rows"] == []
    assert answer["counts"] == {"running": 0, "queued": 0, "attention": 0, "total": 0}
    assert (answer["running"], answer["last_end"]) == (None, None)
    assert answer["machine"]


def test_rows_are_running_then_queue_then_attention(client, settings):
    make(settings, "done", "completed", age=10)
    make(settings, "broken", "failed", age=500, reason_code="cuda_oom")
    wait_in_queue(settings, "second", 2)
    wait_in_queue(settings, "first", 1)
    run_now(make(settings, "cat", "running"), step=5, total_steps=20)
    answer = banner(client)
    assert slugs(answer) == ["cat", "first", "broken"]
    assert answer["counts"] == {"running": 1, "queued": 2, "attention": 1, "total": 5}
    assert (answer["waiting"], answer["waiting_names"], answer["more"]) == (1, ["second"], 0)
    assert answer["running"] == {"slug": "cat", "name": "cat", "percent": 25}
    queued = answer["rows"][1]
    assert (queued["began"], queued["started"]) == ("Queued", 1001.0)


def test_free_rows_show_newest_ended_runs(client, settings):
    for number in range(5):
        make(settings, f"run-{number}", "completed", age=100 - number)
    assert slugs(banner(client)) == ["run-4", "run-3", "run-2"]


def test_more_than_three_are_counted_and_shown_on_request(client, settings):
    for number in range(5):
        make(settings, f"run-{number}", "failed", age=100 - number)
    answer = banner(client)
    assert (len(answer["rows"]), answer["more"], answer["more_attention"]) == (3, 2, 2)
    assert (len(banner(client, all=True)["rows"]), banner(client, all=True)["more"]) == (5, 0)


@pytest.mark.parametrize(
    ("status", "code", "needs"),
    [("failed", "nan", 1), ("stopped", "interrupted", 1), ("stopped", "user", 0), ("stopped", "", 0), ("completed", "", 0)],
)
def test_attention_is_for_failures_and_stops_that_user_did_not_request(client, settings, status, code, needs):
    make(settings, "cat", status, **({"reason_code": code} if code else {}))
    assert banner(client)["counts"]["attention"] == needs


def test_copy_needs_no_attention(client, settings):
    duplicate(make(settings, "cat", "failed", reason_code="nan"), "copy")
    assert banner(client)["counts"]["attention"] == 1


def test_end_that_was_opened_needs_no_attention_until_next_one(client, settings):
    run = make(settings, "cat", "failed", reason_code="nan")
    key = banner(client, open="cat")["open_end"]
    seen = json.dumps({"cat": key})
    assert banner(client, seen=seen)["counts"]["attention"] == 0
    update_state(run, {"status": "failed", "completed_at": 5.0})
    os.utime(run.ui_state, (2_000_000_000, 2_000_000_000))
    assert banner(client, seen=seen)["counts"]["attention"] == 1


def test_open_run_is_omitted(client, settings):
    make(settings, "cat", "failed", reason_code="nan")
    make(settings, "dog", "completed")
    answer = banner(client, open="cat")
    assert slugs(answer) == ["dog"]
    assert answer["counts"] == {"running": 0, "queued": 0, "attention": 0, "total": 2}


@pytest.mark.parametrize("seen", ["{", "[]", "5", '{"cat": 5}', "[" * 10_000])
def test_invalid_seen_values_are_ignored(client, settings, seen):
    make(settings, "cat", "failed", reason_code="nan")
    assert banner(client, seen=seen)["counts"]["attention"] == 1


def test_banner_that_did_not_change_is_not_sent_again(client, settings, monkeypatch):
    monkeypatch.setattr("fluxgym.ui.api.banner.describe", lambda folder: ["CPU"])
    make(settings, "cat", "stopped")
    version = banner(client)["version"]
    assert client.get("banner", params={"version": version}).status_code == 204
    make(settings, "dog", "stopped")
    assert slugs(banner(client, version=version)) == ["dog", "cat"]


def test_open_run_is_left_out_of_rows_but_counted(client, settings):
    run_now(make(settings, "cat", "running", run_id="id-cat"), step=1, total_steps=4)
    answer = banner(client, open="cat")
    assert slugs(answer) == []
    assert answer["counts"]["running"] == 1


def test_last_outcome_is_that_of_run_that_ended_last(client, settings):
    for name, status, ended in (("first", "completed", 1000.0), ("last", "failed", 3000.0), ("middle", "stopped", 2000.0)):
        run = make(settings, name, status)
        os.utime(run.ui_state, (ended, ended))
    duplicate(make(settings, "other", "stopped"), "a copy")
    os.utime(settings.outputs / "other" / "ui_state.json", (500.0, 500.0))
    assert banner(client)["last_end"] == {"slug": "last", "name": "last", "word": "Failed", "at": 3000.0}


def test_each_row_reads_launch_json_once(client, settings):
    for number, status in enumerate(("stopped", "failed", "completed")):
        run = make(settings, f"run-{number}", status, max_train_epochs=4)
        make_spec(run, "")
        write_checkpoint(run, f"run-{number}-step00000020-state", 20)
    banner(client)
    with opened_files() as names:
        answer = banner(client)
    assert len(answer["rows"]) == 3
    assert sorted(path for path in names if path.endswith("launch.json")) == [
        f"{settings.outputs}/run-{number}/.run/launch.json" for number in range(3)
    ]

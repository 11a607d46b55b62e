"""Actions on several runs: each run is handled or refused separately, everything deleted is counted first, and Forget can be undone."""

import os
import shutil
from contextlib import contextmanager

import pytest

from fluxgym.runs.process_identity import identify
from fluxgym.runs.state import update_state
from fluxgym.sessions import delete, forget, preconditions
from fluxgym.sessions.listing import list_sessions
from fluxgym.ui.api.action_answers import Contents
from fluxgym.ui.api.bulk import BulkRoutes
from tests.support.api import error, router_client, value
from tests.support.runs import make_run, record_processes
from tests.support.small_installation import small_installation


@pytest.fixture
def settings(tmp_path):
    """Return folders of this test."""
    return small_installation(tmp_path)


@pytest.fixture
def client(settings):
    """Return a client of the routes."""
    return router_client([BulkRoutes(settings).router])


def runs(*slugs):
    """Return the body of a request about some runs."""
    return {"runs": [{"slug": slug} for slug in slugs]}


def listed(settings):
    return sorted(session.slug for session in list_sessions(settings.outputs))


def test_runs_are_forgotten_and_restored(client, settings):
    for name in ("cat", "dog", "emu"):
        make_run(settings.outputs, name, status="completed")
    assert value(client.post("selection/forget", json=runs("cat", "dog"))) == {"slugs": ["cat", "dog"], "refused": []}
    assert listed(settings) == ["emu"]
    assert value(client.post("selection/undo-forget", json=runs("cat", "dog")))["slugs"] == ["cat", "dog"]
    assert listed(settings) == ["cat", "dog", "emu"]


def test_refused_run_does_not_prevent_others(client, settings):
    make_run(settings.outputs, "cat", status="completed")
    live = make_run(settings.outputs, "dog", status="running")
    me = identify(os.getpid(), "id-dog")
    record_processes(live, "id-dog", 1, me, me)
    for action in ("forget", "delete"):
        answer = value(client.post(f"selection/{action}", json=runs("dog", "gone", "../x", "cat")))
        assert [refused["slug"] for refused in answer["refused"]] == ["dog", "gone", "../x"]
        assert "stop it first" in answer["refused"][0]["message"]
        assert answer["slugs"] == ["cat"]
    assert live.ui_state.exists()


def test_contents_are_sum_and_delete_removes_folders(client, settings):
    folders = []
    for name in ("cat", "dog"):
        run = make_run(settings.outputs, name, status="completed")
        run.lora.write_bytes(b"x" * 1000)
        folders.append(run.folder)
    contents = Contents(**value(client.post("selection/contents", json=runs("cat", "dog"))))
    assert (contents.num_loras, contents.num_files, contents.num_bytes > 2000) == (2, 4, True)
    assert value(client.post("selection/delete", json=runs("cat", "dog")))["slugs"] == ["cat", "dog"]
    assert not any(folder.exists() for folder in folders)
    assert "no run" in error(client.post("selection/contents", json=runs("cat")), 404)


def test_run_that_was_started_again_is_not_changed(client, settings):
    run = make_run(settings.outputs, "cat", status="completed", run_id="new")
    answer = value(client.post("selection/forget", json={"runs": [{"slug": "cat", "run_id": "old"}]}))
    assert "again" in answer["refused"][0]["message"]
    assert run.ui_state.exists()


@pytest.fixture
def restarted(monkeypatch):
    """Start every run again between the request and its turn in the name's lock."""
    lock = preconditions.name_lock

    @contextmanager
    def late(outputs, slug):
        with lock(outputs, slug):
            update_state(outputs.run(slug), {"run_id": "new"})
            yield

    for module in (forget, delete):
        monkeypatch.setattr(module, "name_lock", late)


@pytest.mark.parametrize("action", ["forget", "delete"])
def test_run_that_is_started_again_before_its_turn_is_not_changed(client, settings, restarted, action):
    run = make_run(settings.outputs, "cat", status="completed", run_id="old")
    answer = value(client.post(f"selection/{action}", json={"runs": [{"slug": "cat", "run_id": "old"}]}))
    assert (answer["slugs"], "started again" in answer["refused"][0]["message"]) == ([], True)
    assert run.ui_state.exists()


def test_sweep_leaves_run_alone_that_is_started_again_before_its_turn(client, settings, restarted):
    make_run(settings.outputs, "cat", status="completed", run_id="old", timestamp=1000.0)
    assert value(client.post("sweep", json={"days": 1}))["slugs"] == []
    assert listed(settings) == ["cat"]


def test_sweep_is_counted_before_it_is_done(client, settings):
    for number in range(7):
        make_run(settings.outputs, f"run-{number}", status="completed", timestamp=1000.0)
    make_run(settings.outputs, "new", status="completed")
    preview = value(client.get("sweep", params={"days": 30}))
    assert (preview["count"], len(preview["names"])) == (7, 5)
    assert len(listed(settings)) == 8
    swept = value(client.post("sweep", json={"days": 30}))["slugs"]
    assert sorted(swept) == [f"run-{number}" for number in range(7)]
    value(client.post("selection/undo-forget", json=runs(*swept)))
    assert len(listed(settings)) == 8


@pytest.mark.parametrize("days", [-1, 100_001, "soon"])
def test_preview_of_impossible_days_is_refused(client, days):
    assert "reload" in error(client.get("sweep", params={"days": days}), 400)


@pytest.mark.parametrize("days", [10**30, -(10**30), -5])
def test_sweep_of_impossible_days_forgets_nothing(client, settings, days):
    run = make_run(settings.outputs, "cat", status="completed")
    assert "reload" in error(client.post("sweep", json={"days": days}), 400)
    assert run.ui_state.exists()


@pytest.mark.parametrize("body", [{}, {"runs": "cat"}, {"runs": ["cat"]}, {"runs": [{"run_id": "x"}]}, []])
def test_selection_of_wrong_form_is_refused(client, settings, body):
    run = make_run(settings.outputs, "cat", status="completed")
    for action in ("forget", "delete", "undo-forget", "contents"):
        assert "reload" in error(client.post(f"selection/{action}", json=body), 400)
    assert run.ui_state.exists()


@pytest.mark.parametrize("slug", ["../../x", "..", ".fluxgym", "a\0b", "a\nb", "x" * 5000, "%2F", "gone", ""])
def test_invalid_names_are_refused_and_nothing_is_deleted(client, settings, tmp_path, slug):
    make_run(settings.outputs, "cat", status="completed")
    before = {path for path in tmp_path.rglob("*") if "locks" not in path.parts}
    for action in ("forget", "undo-forget", "delete"):
        answer = value(client.post(f"selection/{action}", json={"runs": [{"slug": slug}]}))
        assert (answer["slugs"], len(answer["refused"])) == ([], 1)
    assert error(client.post("selection/contents", json={"runs": [{"slug": slug}]}), 404)
    assert {path for path in tmp_path.rglob("*") if "locks" not in path.parts} == before


def test_run_that_was_removed_does_not_block_question_before_delete(client, settings):
    make_run(settings.outputs, "cat", status="completed")
    assert value(client.post("selection/contents", json=runs("cat", "gone")))["num_files"] > 0
    answer = value(client.post("selection/delete", json=runs("gone", "cat")))
    assert answer["slugs"] == ["cat"]
    assert [one["slug"] for one in answer["refused"]] == ["gone"]


def test_sweep_continues_after_run_that_cannot_be_forgotten(client, settings):
    for name in ("cat", "dog", "emu"):
        make_run(settings.outputs, name, status="completed", timestamp=1000.0)
    shutil.rmtree(settings.outputs / "dog" / ".run", ignore_errors=True)
    (settings.outputs / "dog" / ".run").write_text("a file where the folder should be")
    assert sorted(value(client.post("sweep", json={"days": 1}))["slugs"]) == ["cat", "emu"]
    assert listed(settings) == ["dog"]


def test_removed_runs_are_listed_and_put_back(client, settings):
    assert value(client.get("removed")) == {"runs": []}
    run = make_run(settings.outputs, "cat", status="completed")
    run.lora.write_bytes(b"x")
    value(client.post("selection/forget", json=runs("cat")))
    (removed,) = value(client.get("removed"))["runs"]
    assert (removed["id"], removed["name"], removed["removal"], removed["num_loras"]) == ("cat", "cat", "forgotten", 1)
    assert value(client.post("removed/cat"))["slug"] == "cat"
    assert listed(settings) == ["cat"]
    assert "no removed run" in error(client.post("removed/cat"), 404)


def test_runs_that_an_export_leaves_out_are_named_before_it(client, settings):
    make_run(settings.outputs, "cat", status="stopped")
    make_run(settings.outputs, "bad", status="stopped").ui_state.write_text("{")
    answer = value(client.post("selection/exported", json={"runs": [{"slug": "cat"}, {"slug": "bad"}]}))
    assert answer["slugs"] == ["cat"]
    (refused,) = answer["refused"]
    assert refused["message"].startswith("bad is not included: ")

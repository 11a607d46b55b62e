"""Actions on several runs: what would be lost is counted, Forget can be undone, one that is refused prevents no other."""

import time

import pytest

from fluxgym.ui.api.bulk import BulkRoutes
from tests.support.api import error, router_client, value
from tests.support.photos import write_cats
from tests.support.runs import make_run, write_checkpoint
from tests.support.small_world import small_world, write_safetensors


@pytest.fixture
def settings(tmp_path):
    """Return folders of this test."""
    return small_world(tmp_path)


@pytest.fixture
def client(settings):
    """Return a client of the routes."""
    return router_client([BulkRoutes(settings).router])


def stopped(settings, name, **state):
    """Make a run that was stopped a while ago."""
    return make_run(settings.outputs, name, **({"status": "stopped", "timestamp": time.time() - 60} | state))


def selected(*slugs):
    """Return the body of a request about some runs."""
    return {"runs": [{"slug": slug, "run_id": f"id-{slug}"} for slug in slugs]}


def test_what_a_delete_would_lose_is_counted(client, settings):
    cat, dog = stopped(settings, "cat"), stopped(settings, "dog")
    write_cats(cat.dataset, count=3)
    write_safetensors(cat.lora)
    write_safetensors(dog.lora)
    write_checkpoint(dog, "dog-step00000004-state", 4)
    counted = value(client.post("selection/contents", json=selected("cat", "dog")))
    assert [counted[name] for name in ("num_loras", "num_checkpoints", "num_samples", "num_images")] == [2, 1, 0, 3]
    files = [path for run in (cat, dog) for path in run.folder.rglob("*") if path.is_file()]
    assert (counted["num_files"], counted["num_bytes"]) == (len(files), sum(path.stat().st_size for path in files))


def test_forgotten_runs_come_back_with_undo(client, settings):
    runs = [stopped(settings, name) for name in ("cat", "dog")]
    states = [run.ui_state.read_bytes() for run in runs]
    done = {"slugs": ["cat", "dog"], "refused": []}
    assert value(client.post("selection/forget", json=selected("cat", "dog"))) == done
    assert not any(run.ui_state.exists() for run in runs)
    assert value(client.post("selection/undo-forget", json=selected("cat", "dog"))) == done
    assert [run.ui_state.read_bytes() for run in runs] == states


def test_a_run_that_was_started_again_is_refused_and_the_others_are_deleted(client, settings):
    cat, dog = stopped(settings, "cat", run_id="new"), stopped(settings, "dog")
    answer = value(client.post("selection/delete", json=selected("cat", "dog")))
    assert answer["slugs"] == ["dog"]
    assert [(refused["slug"], "again" in refused["message"]) for refused in answer["refused"]] == [("cat", True)]
    assert cat.ui_state.exists()
    assert not dog.folder.exists()


@pytest.mark.parametrize("slug", ["../../x", "..", ".fluxgym", "a\0b", "a\nb", "x" * 5000, "%2F", "gone", ""])
def test_odd_names_are_refused_and_nothing_is_deleted(client, settings, tmp_path, slug):
    stopped(settings, "cat")
    before = {path for path in tmp_path.rglob("*") if "locks" not in path.parts}
    for action in ("forget", "undo-forget", "delete"):
        answer = value(client.post(f"selection/{action}", json={"runs": [{"slug": slug}]}))
        assert (answer["slugs"], len(answer["refused"])) == ([], 1)
    assert error(client.post("selection/contents", json={"runs": [{"slug": slug}]}), 404)
    assert {path for path in tmp_path.rglob("*") if "locks" not in path.parts} == before


@pytest.mark.parametrize("body", [[], {}, {"runs": "cat"}, {"runs": ["cat"]}, {"runs": [{"slug": 3}]}, {"runs": [{}]}])
def test_a_selection_of_the_wrong_form_is_refused(client, settings, body):
    run = stopped(settings, "cat")
    for action in ("contents", "forget", "undo-forget", "delete"):
        assert "reload" in error(client.post(f"selection/{action}", json=body), 400)
    assert run.ui_state.exists()


@pytest.mark.parametrize(("days", "swept"), [(0, ["cat"]), (1, []), (10**30, []), (-(10**30), ["cat"])])
def test_old_runs_are_swept(client, settings, days, swept):
    stopped(settings, "cat")
    assert value(client.post("sweep", json={"days": days}))["slugs"] == swept


def test_a_sweep_is_counted_before_it_is_done(client, settings):
    for name in ("cat", "dog"):
        stopped(settings, name)
    assert value(client.get("sweep", params={"days": 1})) == {"count": 0, "names": []}
    counted = value(client.get("sweep", params={"days": 0}))
    assert (counted["count"], set(counted["names"])) == (2, {"cat", "dog"})
    for days in (-1, 10**30, "many"):
        assert "reload" in error(client.get("sweep", params={"days": days}), 400)
    assert "reload" in error(client.get("sweep"), 400)

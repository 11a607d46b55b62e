"""The banner's rows and buttons: the truth of each run, nothing sent twice, and a button that acts on the run it was drawn for."""

import json
import os
import time

import pytest

from fluxgym.contract.codes import Status
from fluxgym.runs.process_identity import identify
from fluxgym.runs.state import read_state, update_state
from fluxgym.sessions.history import save_version
from fluxgym.sessions.index import SessionIndex
from fluxgym.sessions.listing import list_sessions, session_of
from fluxgym.sessions.resume import resume_preview
from fluxgym.ui.api.sessions import PAGE_SIZE, SessionHandlers
from tests.support.runs import make_run, record_processes
from tests.support.small_world import small_world


@pytest.fixture
def settings(tmp_path):
    """Return folders of this test."""
    return small_world(tmp_path)


@pytest.fixture
def handlers(settings):
    """Return the banner's handlers."""
    return SessionHandlers(settings, SessionIndex(settings.outputs))


def stopped(settings, name, **state):
    """Make a run that was stopped a while ago."""
    return make_run(settings.outputs, name, **({"status": "stopped", "timestamp": time.time() - 60} | state))


def write_checkpoint(run, step, total=10):
    """Make a complete checkpoint."""
    folder = run.folder / f"{run.slug}-step{step:08d}-state"
    folder.mkdir()
    (folder / "manifest.json").write_text(json.dumps({"files": {}, "step": step, "epoch": 0, "total_steps": total}))


def test_no_sessions(handlers):
    answer = handlers.sessions({})
    assert answer["rows"] == []
    assert answer["counts"] == {"running": 0, "waiting": 0, "earlier": 0, "shown": 0}


def test_a_second_look_at_the_same_is_only_the_moment(handlers, settings):
    stopped(settings, "cat")
    version = handlers.sessions({})["version"]
    assert set(handlers.sessions({"seen": version})) == {"now", "version"}
    stopped(settings, "dog")
    assert len(handlers.sessions({"seen": version})["rows"]) == 2


def test_pages_and_filter(handlers, settings):
    for number in range(PAGE_SIZE + 2):
        stopped(settings, f"cat-{number}", timestamp=1000 + number)
    stopped(settings, "dog", lora_name="Good Dog", timestamp=1)
    assert [row["slug"] for row in handlers.sessions({"page": 1})["rows"]] == ["cat-1", "cat-0", "dog"]
    assert handlers.sessions({"page": 99})["page"] == 1
    found = handlers.sessions({"filter": "good d"})
    assert [row["slug"] for row in found["rows"]] == ["dog"]
    assert found["counts"]["shown"] == 1
    assert found["counts"]["earlier"] == PAGE_SIZE + 3


def test_a_damaged_state_gets_a_row_and_hides_nothing(handlers, settings):
    stopped(settings, "cat")
    stopped(settings, "bad").ui_state.write_text("{")
    rows = {row["slug"]: row for row in handlers.sessions({})["rows"]}
    assert rows["bad"]["status"] == "unreadable"
    assert rows["bad"]["resume"] is None
    assert rows["cat"]["status"] == "stopped"


def test_resume_is_offered_where_it_can_be_done(handlers, settings):
    run = stopped(settings, "cat")
    assert resume_preview(run) is None
    write_checkpoint(run, 4)
    assert handlers.row(session_of(run))["resume"]["label"] == "Resume from step 4"
    write_checkpoint(run, 10)
    assert resume_preview(run) is None


def test_a_button_of_an_earlier_start_does_nothing(handlers, settings):
    stopped(settings, "cat", run_id="new")
    assert "again" in handlers.act({"action": "resume", "slug": "cat", "run_id": "old"})["error"]


@pytest.mark.parametrize(
    ("data", "word"),
    [
        ({"action": "stop", "slug": "cat"}, "not running"), ({"action": "resume", "slug": "cat"}, "checkpoint"),
        ({"action": "dance", "slug": "cat"}, "reload"), ({"action": "stop", "slug": "../cat"}, "no run"), ({}, "no run"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_said(handlers, settings, data, word):
    stopped(settings, "cat", base_model="pocket")
    assert word in handlers.act(data)["error"]


def test_statuses_are_the_lists_own(handlers, settings):
    for status in (Status.STOPPED, Status.COMPLETED, Status.FAILED):
        stopped(settings, status.value, status=status.value)
    assert {row["status"] for row in handlers.sessions({})["rows"]} == {"stopped", "completed", "failed"}


def test_the_menu_does_what_it_says(handlers, settings):
    run = stopped(settings, "cat", max_train_epochs=4)
    act = lambda action, **more: handlers.act({"action": action, "slug": "cat", **more})  # noqa: E731
    assert act("duplicate", name="Cat two") == {"slug": "cat-two"}
    assert "already" in act("duplicate", name="Cat two")["error"]
    assert act("template", name="mine") == {"template": "mine"}
    assert act("history") == {"versions": []}
    save_version(run)
    update_state(run, {"max_train_epochs": 8})
    (version,) = act("history")["versions"]
    assert version["changes"] == ["max_train_epochs: 4 → 8"]
    assert act("restore", id=version["id"]) == {"changed": ["max_train_epochs: 8 → 4"]}
    assert "without a trained model" in act("contents")["sentence"]
    assert "does not wait" in act("next")["error"]
    assert act("forget") == {}
    assert not run.ui_state.exists()
    assert act("delete") == {}
    assert not run.folder.exists()
    assert handlers.sweep({"days": 0}) == {"swept": 1}


def test_a_damaged_state_is_repaired_from_the_history(handlers, settings):
    run = stopped(settings, "cat", max_train_epochs=4)
    save_version(run)
    run.ui_state.write_text("{")
    assert handlers.act({"action": "repair", "slug": "cat", "run_id": None}) == {}
    assert read_state(run)["max_train_epochs"] == 4
    assert [path.read_text() for path in run.folder.glob("ui_state.damaged-*")] == ["{"]
    assert "nothing to repair" in handlers.act({"action": "repair", "slug": "cat"})["error"]


def test_a_damaged_state_without_history_is_repaired_from_the_command(handlers, settings):
    run = stopped(settings, "cat")
    run.train_sh.write_text("python flux_train_network.py --max_train_epochs 12 --network_dim 8\n")
    run.ui_state.write_text("")
    handlers.act({"action": "repair", "slug": "cat", "run_id": None})
    state = read_state(run)
    assert (state["lora_name"], state["max_train_epochs"], state["network_dim"], state["status"]) == ("cat", 12, 8, "stopped")


ODD = {
    "epochs beyond 64 bits": ("ui_state.json", {"max_train_epochs": 99999999999999999999}),
    "epochs as a float beyond all": ("ui_state.json", {"max_train_epochs": 1e300}),
    "a status that only the list may say": ("ui_state.json", {"status": "unreadable"}),
    "an end in a far future": (".run/exit.json", {"ended_at": 10**30}),
    "a last step in words": (".run/exit.json", {"status": "completed", "last_step": "2"}),
    "a last step in a list": (".run/exit.json", {"status": "completed", "last_step": [2]}),
    "a command that is not a list": (".run/launch.json", {"argv": 5}),
    "an environment that is not a table": (".run/launch.json", {"env": 5}),
    "a checkpoint at no step": ("cat-state/manifest.json", {"step": float("inf")}),
}


@pytest.mark.parametrize("name", ODD)
def test_an_odd_value_in_any_file_of_a_run_hides_no_row(name, handlers, settings):
    import orjson

    run = make_run(settings.outputs, "cat", status="stopped")
    make_run(settings.outputs, "dog", status="stopped")
    end = {"run_id": "id-cat", "attempt": 1, "status": "stopped", "reason_code": "user", "reason": "x", "last_step": 2, "ended_at": 5.0}
    launch = {"run_id": "id-cat", "attempt": 1, "argv": ["x", "--max_train_epochs", "1"], "cwd": "/"}
    manifest = {"files": {}, "step": 2, "epoch": 1, "total_steps": 4, "run_id": ""}
    files = {"ui_state.json": json.loads(run.ui_state.read_text()), ".run/exit.json": end, ".run/launch.json": launch}
    files["cat-state/manifest.json"] = manifest
    (run.folder / "cat-state").mkdir()
    path, odd = ODD[name]
    for file, value in (files | {path: files[path] | odd}).items():
        (run.folder / file).write_text(json.dumps(value))
    answer = handlers.sessions({})
    assert sorted(row["slug"] for row in answer["rows"]) == ["cat", "dog"]
    orjson.dumps(answer)  # as Gradio sends it


def test_folders_that_no_run_can_have_hide_no_row(handlers, settings):
    make_run(settings.outputs, "cat", status="stopped")
    for odd in (b"a\\b", b"bad\xff"):
        folder = settings.outputs / os.fsdecode(odd)
        folder.mkdir()
        (folder / "ui_state.json").write_text("{}")
    assert [row["slug"] for row in handlers.sessions({})["rows"]] == ["cat"]
    assert [session.slug for session in list_sessions(settings.outputs)] == ["cat"]


def test_nothing_is_offered_while_the_trainer_lives_though_its_pid_file_was_removed(handlers, settings):
    run = make_run(settings.outputs, "cat", status="running")
    me = identify(os.getpid(), "id-cat")
    record_processes(run, "id-cat", 1, me, me)
    (run.folder / "cat-state").mkdir()
    (run.folder / "cat-state" / "manifest.json").write_text(
        json.dumps({"files": {}, "step": 2, "epoch": 1, "total_steps": 4, "run_id": ""})
    )
    (row,) = handlers.sessions({})["rows"]
    assert (row["status"], row["alive"], row["resume"]) == ("stopped", True, None)

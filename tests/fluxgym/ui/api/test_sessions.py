"""The banner's rows and buttons: the true status of each run, nothing sent twice, and buttons that act on the run for which they were shown."""

import json
import os
import time
from dataclasses import asdict

import pytest

from fluxgym.contract.codes import Status
from fluxgym.errors import ModelError, NamesCode
from fluxgym.models.catalog import find_files
from fluxgym.planning.plan import Planner
from fluxgym.runs.paths import OutputsPaths
from fluxgym.runs.process_identity import identify
from fluxgym.runs.snapshot import RunSnapshot
from fluxgym.runs.state import read_state, update_state
from fluxgym.sessions.control import wait_until_ended
from fluxgym.sessions.history import save_version
from fluxgym.sessions.index import SessionIndex
from fluxgym.sessions.listing import list_sessions
from fluxgym.sessions.resume import resume_preview
from fluxgym.sessions.transfer import Export, export_archive, import_file
from fluxgym.ui.api.session_actions import ActionRoutes
from fluxgym.ui.api.sessions import PAGE_SIZE, SessionRoutes
from tests.support.api import error, router_client, value
from tests.support.checkpoint_files import write_checkpoint_files
from tests.support.photos import write_cats
from tests.support.runs import make_run, record_processes
from tests.support.small_installation import small_installation


@pytest.fixture
def settings(tmp_path):
    """Return folders of this test."""
    return small_installation(tmp_path)


@pytest.fixture
def client(settings):
    """Return a client of the routes."""
    return router_client([SessionRoutes(settings, SessionIndex(settings.outputs)).router, ActionRoutes(settings, Planner(settings)).router])


def rows(client):
    """Return the rows of the first page."""
    return value(client.get("sessions"))["rows"]


def stopped(settings, name, **state):
    """Make a run that was stopped a while ago."""
    return make_run(settings.outputs, name, **({"status": "stopped", "timestamp": time.time() - 60} | state))


def write_checkpoint(run, step, total=10):
    """Make a complete checkpoint."""
    folder = run.folder / f"{run.slug}-step{step:08d}-state"
    write_checkpoint_files(folder, step=step, total_steps=total)


def test_empty_outputs_give_empty_list(client):
    answer = value(client.get("sessions"))
    assert answer["rows"] == []
    assert answer["counts"] == dict.fromkeys(
        ("total", "running", "queued", "stopped", "failed", "completed", "unstarted", "imported", "shown"), 0
    )


def test_list_that_did_not_change_is_not_sent_again(client, settings):
    stopped(settings, "cat")
    version = value(client.get("sessions"))["version"]
    again = client.get("sessions", params={"version": version})
    assert (again.status_code, again.content) == (204, b"")
    stopped(settings, "dog")
    assert len(value(client.get("sessions", params={"version": version}))["rows"]) == 2


def test_list_is_paginated_and_filtered(client, settings):
    for number in range(PAGE_SIZE + 2):
        stopped(settings, f"cat-{number}", timestamp=1000 + number)
    stopped(settings, "dog", lora_name="Good Dog", timestamp=1)
    assert [row["slug"] for row in value(client.get("sessions", params={"page": 1}))["rows"]] == ["cat-1", "cat-0", "dog"]
    assert value(client.get("sessions", params={"page": 99}))["page"] == 1
    found = value(client.get("sessions", params={"filter": "good d"}))
    assert [row["slug"] for row in found["rows"]] == ["dog"]
    assert found["counts"]["shown"] == 1
    assert (found["counts"]["total"], found["counts"]["stopped"]) == (1, 1)  # of the runs of this name


def slugs(client, **query):
    """Return the slugs of the rows that a query gets."""
    return [row["slug"] for row in value(client.get("sessions", params=query))["rows"]]


def test_status_and_model_reduce_list_and_counts_stay(client, settings):
    for number, status in enumerate(("stopped", "failed", "completed", "completed")):
        stopped(settings, f"run-{number}", status=status, base_model="pocket" if number else "flux-dev", timestamp=1000 - number)
    assert slugs(client, status="completed") == ["run-2", "run-3"]
    assert slugs(client, model="flux-dev") == ["run-0"]
    answer = value(client.get("sessions", params={"status": "failed", "model": "pocket"}))
    assert ([row["slug"] for row in answer["rows"]], answer["counts"]["shown"], answer["counts"]["completed"]) == (["run-1"], 1, 2)
    assert [model["id"] for model in answer["models"]] == ["flux-dev", "pocket"]


def test_import_is_not_counted_as_not_started(client, settings, tmp_path):
    export_archive([stopped(settings, "cat")], tmp_path / "x.zip", Export())
    (run,) = import_file(tmp_path / "x.zip", OutputsPaths(settings.outputs))
    counts = value(client.get("sessions"))["counts"]
    assert (counts["unstarted"], counts["imported"]) == (0, 1)
    assert slugs(client, status="imported") == [run.slug]


def test_copy_is_neither_stopped_nor_started(client, settings):
    stopped(settings, "cat")
    value(client.post("sessions/cat/duplicate", json={"name": "copy"}))
    (row,) = [row for row in rows(client) if row["slug"] == "copy"]
    assert (row["origin"], row["parent"], row["began"], row["shown"]["word"]) == ("copy", "cat", "Copied", "Not started")
    assert slugs(client, status="stopped") == ["cat"]
    assert slugs(client, status="unstarted") == ["copy"]
    assert value(client.get("sessions"))["counts"]["unstarted"] == 1


@pytest.mark.parametrize(
    ("sort", "ascending"),
    [
        ("name", ["b", "c", "a"]), ("status", ["b", "c", "a"]), ("steps", ["c", "a", "b"]), ("loss", ["a", "c", "b"]),
        ("duration", ["c", "a", "b"]), ("model", ["c", "b", "a"]), ("date", ["c", "b", "a"]),
    ],
)  # fmt: skip
def test_every_column_sorts_in_both_directions_and_unknown_is_last(client, settings, sort, ascending):
    runs = {"a": ("completed", 9, 0.1, 50, "Zed"), "b": ("failed", None, None, None, "Ant"), "c": ("stopped", 4, 0.2, 20, "Cow")}
    for number, (name, (status, step, loss, duration, lora_name)) in enumerate(runs.items()):
        model = {"a": "", "b": "pocket", "c": "flux-dev"}[name]
        run = stopped(settings, name, status=status, lora_name=lora_name, base_model=model, timestamp=1000 - number)
        if step is not None:
            run.progress.write_text(json.dumps({"time": 1.0, "phase": "training", "step": step, "total_steps": 9, "loss": loss}) + "\n")
            end = {"run_id": "x", "attempt": 1, "status": status, "reason": "", "reason_code": ""}
            run.exit.write_text(json.dumps(end | {"started_at": 1000 - number, "ended_at": 1000 - number + duration}))
    assert slugs(client, sort=sort, descending=False) == ascending
    unknown = [name for name in ascending if (name == "b" and sort in ("steps", "loss", "duration")) or (name == "a" and sort == "model")]
    known = [name for name in ascending if name not in unknown]
    assert slugs(client, sort=sort, descending=True) == known[::-1] + unknown


@pytest.mark.parametrize("query", [{"sort": "size"}, {"status": "sleeping"}, {"page_size": 0}, {"page_size": 101}])
def test_query_that_page_cannot_send_is_refused(client, query):
    assert "reload" in error(client.get("sessions", params=query), 400)


@pytest.mark.parametrize("query", [{"page": -1}, {"page": "x"}, {"page": 1.5}])
def test_page_of_wrong_form_is_refused(client, query):
    assert "reload" in error(client.get("sessions", params=query), 400)


@pytest.mark.parametrize("filter_text", ["x" * 5000, "a\0b", "%", "\n", "🐱"])
def test_any_text_can_be_filter(client, settings, filter_text):
    stopped(settings, "cat")
    assert value(client.get("sessions", params={"filter": filter_text}))["rows"] in ([], rows(client))


def test_damaged_state_gets_row_and_hides_nothing(client, settings):
    stopped(settings, "cat")
    stopped(settings, "bad").ui_state.write_text("{")
    found = {row["slug"]: row for row in rows(client)}
    assert found["bad"]["status"] == "unreadable"
    assert (found["bad"]["next_step"]["action"], found["bad"]["edit_text"]) == ("repair", None)
    assert found["cat"]["status"] == "stopped"


def test_figures_of_progress_are_sent_as_they_are_and_unknown_ones_are_left_out(client, settings):
    line = {"time": 1.0, "phase": "of a newer trainer", "step": 3, "total_steps": 9.5, "loss": 0.5}
    stopped(settings, "cat").progress.write_text(json.dumps(line) + "\n")
    answer = client.get("sessions")
    assert json.dumps(line, separators=(",", ":")) in answer.text
    assert value(answer)["rows"][0]["progress"] == line


def test_resume_is_offered_where_it_can_be_done(client, settings):
    run = stopped(settings, "cat")
    assert resume_preview(RunSnapshot.read(run)) is None
    write_checkpoint(run, 4)
    (row,) = rows(client)
    step = row["next_step"]
    assert (step["action"], step["text"]) == ("resume", "Resume from step 4")
    assert step["help"] == "Continues in epoch 1, at step 4 of 10 (cat-step00000004-state)"
    write_checkpoint(run, 10)
    assert resume_preview(RunSnapshot.read(run)) is None


def test_a_resume_without_the_model_files_lists_them_with_sizes_and_addresses(client, settings):
    run = stopped(settings, "cat", base_model="flux-dev")
    write_checkpoint(run, 4)
    write_cats(run.dataset, count=1)
    refused = client.post("sessions/cat/resume", json={})
    assert error(refused, 400)
    answer = refused.json()["error"]
    assert (answer["code"], answer["field"]) == ("ModelError", "base_model")
    with pytest.raises(ModelError) as caught:
        find_files("flux-dev", settings.models)
    assert answer["details"] == [asdict(detail) for detail in caught.value.details]
    assert any("GB" in each["text"] and each["address"].startswith("https://") for each in answer["details"])


def test_resume_is_refused_with_code_to_which_user_can_agree(client, settings, monkeypatch):
    seen = []

    def needs_consent(run, _, request):
        seen.append(tuple(request.agreed))
        if "NamesCode" not in request.agreed:
            raise NamesCode("cat runs the Python module “evil” (optimizer_type).")
        return run

    monkeypatch.setattr("fluxgym.ui.api.session_actions.resume_planned", needs_consent)
    stopped(settings, "cat")
    refused = client.post("sessions/cat/resume", json={})
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "NamesCode")
    assert client.post("sessions/cat/resume", json={"agreed": ["NamesCode"]}).json()["notice"] == ""
    assert seen == [(), ("NamesCode",)]


def test_button_of_earlier_start_does_nothing(client, settings):
    stopped(settings, "cat", run_id="new")
    assert "again" in error(client.post("sessions/cat/resume", json={"run_id": "old"}), 409)


@pytest.mark.parametrize(
    ("path", "status", "word"),
    [
        ("cat/stop", 409, "not running"), ("cat/resume", 409, "checkpoint"), ("cat/dance", 409, "reload"), ("dog/stop", 404, "no run"),
        (".fluxgym/stop", 404, "no run"), ("a%00b/stop", 404, "no run"), (f"{'x' * 5000}/stop", 404, "no run"), ("a%0Ab/stop", 404, "no run"),
        ("%ff/stop", 404, "no run"), ("cat/__init__", 409, "reload"),
    ],
)  # fmt: skip
def test_action_that_is_not_possible_is_refused_with_its_reason(client, settings, path, status, word):
    stopped(settings, "cat", base_model="pocket")
    assert word in error(client.post(f"sessions/{path}", json={}), status)


@pytest.mark.parametrize("slug", ["..%2Fcat", "%2Fetc", "..%2F..", "a%2Fb"])
def test_path_in_place_of_run_is_not_route(client, settings, slug):
    run = stopped(settings, "cat")
    for path in (f"sessions/{slug}/delete", f"sessions/{slug}/forget"):
        assert client.post(path, json={}).status_code in (404, 405, 409)
    assert run.ui_state.exists()


@pytest.mark.parametrize("body", [[], None, "x", {"run_id": 3}, {"name": {}}, {"version": None}])
def test_action_of_wrong_form_is_refused(client, settings, body):
    run = stopped(settings, "cat")
    assert "reload" in error(client.post("sessions/cat/forget", json=body), 400)
    assert run.ui_state.exists()


def test_statuses_equal_those_of_list(client, settings):
    for status in (Status.STOPPED, Status.COMPLETED, Status.FAILED):
        stopped(settings, status.value, status=status.value)
    assert {row["status"] for row in rows(client)} == {"stopped", "completed", "failed"}


def test_menu_actions_are_performed(client, settings):
    run = stopped(settings, "cat", max_train_epochs=4)
    nothing = {"slug": None, "changed": [], "template": None, "notice": ""}

    def act(action, **body):
        return client.post(f"sessions/cat/{action}", json=body)

    assert value(act("duplicate", name="Cat two")) == nothing | {"slug": "cat-two"}
    assert "already" in error(act("duplicate", name="Cat two"), 409)
    assert value(act("template", name="mine")) == nothing | {"template": "mine"}
    assert value(client.get("sessions/cat/history")) == {"versions": [], "unreadable": []}
    save_version(run)
    update_state(run, {"max_train_epochs": 8})
    (version,) = value(client.get("sessions/cat/history"))["versions"]
    assert version["changes"] == [{"label": "Max train epochs", "before": "4", "after": "8"}]
    assert value(act("restore", version=version["id"])) == nothing | {"changed": ["max_train_epochs: 8 → 4"]}
    assert "does not wait" in error(act("next"), 409)
    assert value(act("forget")) == nothing
    assert not run.ui_state.exists()
    assert value(act("delete")) == nothing
    assert not run.folder.exists()


@pytest.mark.parametrize("odd", ["../../x", "a\0b", "x" * 5000, "%2F..", "a\nb", "🐱", "<b>"])
def test_invalid_names_are_refused_or_saved_inside_outputs(client, settings, tmp_path, odd):
    stopped(settings, "cat")
    before = set(tmp_path.rglob("*"))
    for action, body in (("duplicate", {"name": odd}), ("template", {"name": odd}), ("restore", {"version": odd})):
        response = client.post(f"sessions/cat/{action}", json=body)
        assert response.status_code in (200, 400, 404, 409)
    new = set(tmp_path.rglob("*")) - before
    assert all(settings.outputs in path.parents for path in new)


@pytest.mark.parametrize("odd", ["gone", ".fluxgym", "a%00b", "x" * 5000, "a%0Ab", "%ff"])
def test_history_of_run_that_does_not_exist_is_refused(client, settings, odd):
    settings.outputs.mkdir()
    assert error(client.get(f"sessions/{odd}/history"), 404)


def test_damaged_state_is_repaired_from_history(client, settings):
    run = stopped(settings, "cat", max_train_epochs=4)
    save_version(run)
    run.ui_state.write_text("{")
    value(client.post("sessions/cat/repair", json={"run_id": None}))
    assert read_state(run)["max_train_epochs"] == 4
    assert [path.read_text() for path in run.folder.glob("ui_state.damaged-*")] == ["{"]
    assert "nothing to repair" in error(client.post("sessions/cat/repair", json={}), 409)


def test_damaged_state_without_history_is_repaired_from_command(client, settings):
    run = stopped(settings, "cat")
    run.train_sh.write_text("python flux_train_network.py --max_train_epochs 12 --network_dim 8\n")
    run.ui_state.write_text("")
    value(client.post("sessions/cat/repair", json={"run_id": None}))
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
def test_invalid_value_in_any_file_of_run_does_not_hide_row(name, client, settings):
    run = make_run(settings.outputs, "cat", status="stopped")
    make_run(settings.outputs, "dog", status="stopped")
    end = {"run_id": "id-cat", "attempt": 1, "status": "stopped", "reason_code": "user", "reason": "x", "last_step": 2, "ended_at": 5.0}
    launch = {"run_id": "id-cat", "attempt": 1, "argv": ["x", "--max_train_epochs", "1"], "cwd": "/"}
    write_checkpoint_files(run.folder / "cat-state", step=2, epoch=1)
    manifest = json.loads((run.folder / "cat-state" / "manifest.json").read_text())
    files = {"ui_state.json": json.loads(run.ui_state.read_text()), ".run/exit.json": end, ".run/launch.json": launch}
    files["cat-state/manifest.json"] = manifest
    path, odd = ODD[name]
    for file, content in (files | {path: files[path] | odd}).items():
        (run.folder / file).write_text(json.dumps(content))
    assert sorted(row["slug"] for row in rows(client)) == ["cat", "dog"]


def test_folders_that_no_run_can_have_do_not_hide_row(client, settings):
    make_run(settings.outputs, "cat", status="stopped")
    for odd in (b"a\\b", b"bad\xff"):
        folder = settings.outputs / os.fsdecode(odd)
        folder.mkdir()
        (folder / "ui_state.json").write_text("{}")
    assert [row["slug"] for row in rows(client)] == ["cat"]
    assert [session.slug for session in list_sessions(settings.outputs)] == ["cat"]


def test_nothing_is_offered_while_trainer_is_live_though_its_pid_file_was_removed(client, settings):
    run = make_run(settings.outputs, "cat", status="running")
    me = identify(os.getpid(), "id-cat")
    record_processes(run, "id-cat", 1, me, me)
    write_checkpoint_files(run.folder / "cat-state", step=2, epoch=1)
    (row,) = rows(client)
    assert (row["status"], row["is_live"], row["next_step"]["action"]) == ("stopped", False, "stop")
    assert row["stop_text"].startswith("Nothing has been trained yet")
    assert "forget" not in row["menu"]


def test_copy_is_started_by_its_button(client, settings):
    run = make_run(settings.outputs, "cat", status="stopped", base_model="pocket", max_train_epochs=1, num_repeats=1)
    write_cats(run.dataset, count=2, size=64)
    slug = value(client.post("sessions/cat/duplicate", json={"name": "Second"}))["slug"]
    copy = OutputsPaths(settings.outputs).run(slug)
    assert [(row["slug"], row["next_step"]["text"]) for row in rows(client)] == [("second", "Start"), ("cat", "Start again")]
    value(client.post(f"sessions/{slug}/start", json={"run_id": read_state(copy)["run_id"]}))
    assert wait_until_ended(copy).status == "completed"
    assert error(client.post(f"sessions/{slug}/start", json={}), 409).startswith("Second has a checkpoint or a LoRA file")

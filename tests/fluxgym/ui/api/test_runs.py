"""The Run page gets each change once: curve, log, samples and files are sent only when they are new."""

import json
import os
from dataclasses import fields

import pytest

from fluxgym.planning.plan import plan
from fluxgym.runs.launch_spec import write_launch_spec
from fluxgym.runs.process_identity import identify
from fluxgym.runs.state import update_state
from fluxgym.trainers.options import train_sh
from fluxgym.ui.api.run_answers import RunChanges
from fluxgym.ui.api.run_parts import MONITOR_LINES
from fluxgym.ui.api.runs import LOG_BYTES, RunRoutes
from tests.support.api import router_client, value
from tests.support.photos import write_cats
from tests.support.runs import dead_process, make_run, record_processes
from tests.support.small_installation import small_installation, state

CURVE = {"points": [], "rates": [], "last": None, "last_rate": None, "validation": [], "replace": False}


@pytest.fixture
def settings(tmp_path):
    """Return folders of this test."""
    return small_installation(tmp_path)


@pytest.fixture
def run(settings):
    """Return a run's folder."""
    return make_run(settings.outputs, "cat")


@pytest.fixture
def client(settings):
    """Return a client of the route."""
    return router_client([RunRoutes(settings).router])


@pytest.fixture
def ask(client, run):
    """Return a page that remembers what it has seen, as run_page.js does; unchanged parts are left out of the answers."""
    seen = ""

    def ask(slug="cat"):
        nonlocal seen
        answer = value(client.get(f"runs/{slug}", params={"seen": seen}))
        assert set(answer) == {field.name for field in fields(RunChanges)}
        seen = answer["seen"]
        return {name: part for name, part in answer.items() if part is not None and name not in ("seen", "is_missing")}

    return ask


def write_step(run, step, loss=1.0):
    """Append a step as the trainer does."""
    with run.progress.open("a") as file:
        file.write(json.dumps({"phase": "training", "step": step, "total_steps": 99, "loss": loss}) + "\n")


def test_known_version_of_run_is_not_sent_again(ask, run):
    write_step(run, 1)
    run.training_log.write_text("loading\n")
    first = ask()
    assert set(first) == {"session", "samples", "files", "settings", "monitor", "log", "curve", "facts", "history"}
    assert ask() == {}


def test_only_new_points_are_sent(ask, run):
    write_step(run, 1)
    assert ask()["curve"]["replace"]
    write_step(run, 2, 0.5)
    assert ask()["curve"] == CURVE | {"points": [[2, 0.5]], "rates": [None]}


def test_resume_from_earlier_step_sends_repeated_steps(ask, run):
    for step in (1, 2, 3):
        write_step(run, step)
    ask()
    write_step(run, 2, 0.1)
    assert ask()["curve"] == CURVE | {"points": [[2, 0.1]], "rates": [None]}


def test_log_is_sent_in_pieces_that_never_split_character(ask, run):
    run.training_log.write_bytes("über".encode())
    assert ask()["log"] == {"text": "über", "replace": True}
    with run.training_log.open("ab") as file:
        file.write("ä".encode()[:1])
    assert "log" not in ask()
    with run.training_log.open("ab") as file:
        file.write("ä".encode()[1:] + b"\n")
    assert ask()["log"] == {"text": "ä\n", "replace": False}


def test_of_large_log_only_end_is_sent(ask, run):
    run.training_log.write_text("".join(f"line {number}\n" for number in range(100_000)))
    log = ask()["log"]
    assert log["text"].endswith("line 99999\n")
    assert log["text"].startswith("line ")
    assert len(log["text"]) <= LOG_BYTES


def test_log_that_was_replaced_is_sent_again(ask, run):
    run.training_log.write_text("one\n" * 10)
    ask()
    run.training_log.write_text("two\n")
    assert ask()["log"] == {"text": "two\n", "replace": True}


@pytest.mark.parametrize("slug", ["dog", ".fluxgym", "a%00b", "x" * 5000, "a%0Ab", "%ff", "cat%20"])
def test_unknown_run_is_reported_as_missing(client, run, slug):
    answer = value(client.get(f"runs/{slug}"))
    assert answer["is_missing"]
    assert {name for name, part in answer.items() if part} == {"is_missing"}


@pytest.mark.parametrize("slug", ["", "..%2Fcat", "%2Fetc", "..%2F..%2Fx"])
def test_path_in_place_of_run_is_not_route(client, run, slug):
    assert client.get(f"runs/{slug}").status_code == 404


@pytest.mark.parametrize(
    "seen",
    ["null", "x", "[]", '{"log": "x", "curve": 3}', '{"log": [0, -5], "curve": [1, 2, 3]}', '{"log": [null, {}]}', "[" * 10_000, "7",
     '{"log": [1e400, 1e400]}', '{"session": {}, "samples": [1]}'],
)  # fmt: skip
def test_any_value_of_seen_is_accepted(client, run, seen):
    write_step(run, 1)
    run.training_log.write_text("x\n")
    answer = value(client.get("runs/cat", params={"seen": seen}))
    assert answer["session"]["slug"] == "cat"
    assert answer["log"] == {"text": "x\n", "replace": True}
    assert answer["curve"]["replace"]


def test_damaged_state_is_shown_with_its_reason(ask, run):
    run.ui_state.write_text("{")
    answer = ask()
    assert answer["session"]["status"] == "unreadable"
    assert "JSON" in answer["session"]["reason"]


def test_monitor_shows_last_lines_of_its_log(ask, run):
    run.monitor_log.write_text("".join(f"line {number}\n" for number in range(100)))
    monitor = ask()["monitor"]
    assert (monitor["is_alive"], monitor["pid"], monitor["lines"][-1], len(monitor["lines"])) == (False, None, "line 99", MONITOR_LINES)


def test_state_that_was_edited_while_run_trains_is_not_shown_as_what_is_trained(client, settings, tmp_path):
    write_cats(tmp_path / "images")
    planned = plan(state(max_train_epochs=4, learning_rate="1e-4", concept_sentence="sks cat"), tmp_path / "images", settings)
    run = make_run(settings.outputs, **planned.config.to_state() | {"lora_name": "cat", "status": "running"})
    run.train_sh.write_text(train_sh(planned.launch_spec().argv))
    run.dataset_toml.write_text(planned.dataset_toml)
    write_launch_spec(run, planned.launch_spec("id-cat"))
    me = identify(os.getpid(), "id-cat")
    record_processes(run, "id-cat", 1, me, me)
    run.training_pid.write_text(str(os.getpid()))
    update_state(run, {"max_train_epochs": 32, "learning_rate": "9e-1", "concept_sentence": "dog", "num_repeats": 99})
    answer = value(client.get("runs/cat"))
    shown = {row["name"]: row["value"] for row in answer["settings"]}
    assert {name: shown[name] for name in ("max_train_epochs", "learning_rate", "concept_sentence", "num_repeats")} == {
        "max_train_epochs": "4", "learning_rate": "1e-4", "concept_sentence": "sks cat", "num_repeats": "2",
    }  # fmt: skip
    assert (answer["facts"]["trigger"], answer["session"]["max_train_epochs"]) == ("sks cat", 4)
    run.training_pid.unlink()
    record_processes(run, "id-cat", 1, dead_process("id-cat"), dead_process("id-cat"))
    assert value(client.get("runs/cat"))["facts"]["trigger"] == "dog"  # what a resume would use

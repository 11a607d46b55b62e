"""The Run page gets each thing once: curve, log, samples and files are sent only when they are new."""

import json

import pytest
from PIL import Image

from fluxgym.sessions.index import SessionIndex
from fluxgym.ui.api.runs import LOG_BYTES, RunHandlers
from fluxgym.ui.api.sessions import SessionHandlers
from tests.support.runs import make_run
from tests.support.small_world import small_world, write_safetensors


@pytest.fixture
def settings(tmp_path):
    """Return folders of this test."""
    return small_world(tmp_path)


@pytest.fixture
def run(settings):
    """Return a run's folder."""
    return make_run(settings.outputs, "cat")


@pytest.fixture
def ask(settings, run):
    """Return a page that remembers what it has seen, as run.js does."""
    handlers = RunHandlers(settings, SessionHandlers(settings, SessionIndex(settings.outputs)))
    seen: dict = {}

    def ask(**changes):
        nonlocal seen
        answer = handlers.run_view({"slug": "cat", "seen": seen} | changes)
        seen = json.loads(json.dumps(answer.get("seen", seen)))
        return answer

    return ask


def write_step(run, step, loss=1.0):
    """Append a step as the trainer does."""
    with run.progress.open("a") as file:
        file.write(json.dumps({"phase": "training", "step": step, "total_steps": 99, "loss": loss}) + "\n")


def test_what_has_been_seen_is_not_sent_again(ask, run):
    write_step(run, 1)
    run.training_log.write_text("loading\n")
    first = ask()
    assert {"session", "samples", "files", "settings", "log", "points"} <= set(first)
    assert set(ask()) == {"now", "seen"}


def test_new_points_come_alone(ask, run):
    write_step(run, 1)
    assert ask()["points_again"]
    write_step(run, 2, 0.5)
    answer = ask()
    assert answer["points"] == [(2, 0.5)]
    assert "points_again" not in answer


def test_a_resume_that_goes_back_sends_what_was_done_again(ask, run):
    for step in (1, 2, 3):
        write_step(run, step)
    ask()
    write_step(run, 2, 0.1)
    answer = ask()
    assert "points_again" not in answer
    assert answer["points"] == [(2, 0.1)]


def test_the_log_comes_in_pieces_and_half_a_letter_waits(ask, run):
    run.training_log.write_bytes("über".encode())
    assert ask()["log"] == {"text": "über", "again": True}
    with run.training_log.open("ab") as file:
        file.write("ä".encode()[:1])
    assert "log" not in ask()
    with run.training_log.open("ab") as file:
        file.write("ä".encode()[1:] + b"\n")
    assert ask()["log"] == {"text": "ä\n", "again": False}


def test_of_a_large_log_only_the_end_is_sent(ask, run):
    run.training_log.write_text("".join(f"line {number}\n" for number in range(100_000)))
    log = ask()["log"]
    assert log["text"].endswith("line 99999\n")
    assert log["text"].startswith("line ")
    assert len(log["text"]) <= LOG_BYTES


def test_a_log_that_was_replaced_is_sent_again(ask, run):
    run.training_log.write_text("one\n" * 10)
    ask()
    run.training_log.write_text("two\n")
    assert ask()["log"] == {"text": "two\n", "again": True}


def test_samples_stand_by_step_the_latest_first_with_their_prompts(ask, run):
    run.samples.mkdir()
    run.sample_prompts.write_text("# kept\nsks cat --w 64 --d 1\na dog\n")
    for name in ("cat_000010_00_20250101000000_1.png", "cat_000020_00_20250101000001_1.png", "cat_000020_01_20250101000001.png",
                 "cat_e000004_00_20250101000002_1.png", "notes.png"):  # fmt: skip
        Image.new("RGB", (8, 8)).save(run.samples / name)
    rows = ask()["samples"]
    assert [row["label"] for row in rows] == ["epoch 4", "step 20", "step 10"]
    assert [image["prompt"] for image in rows[1]["images"]] == ["sks cat", "a dog"]
    assert rows[1]["images"][0]["url"] == "runs/cat/samples/cat_000020_00_20250101000001_1.png"


def test_lora_files_are_named(ask, run):
    for name in ("cat.safetensors", "cat-000004.safetensors", "cat-step00000012.safetensors"):
        write_safetensors(run.folder / name)
    assert {file["name"]: file["note"] for file in ask()["files"]} == {
        "cat.safetensors": "the trained model", "cat-000004.safetensors": "epoch 4", "cat-step00000012.safetensors": "step 12",
    }  # fmt: skip


@pytest.mark.parametrize("slug", ["", "dog", "../cat", ".fluxgym", None, 7])
def test_a_run_that_is_not_there_is_missing(ask, slug):
    assert ask(slug=slug) == {"missing": True}


@pytest.mark.parametrize("seen", [None, "x", [], {"log": "x", "curve": 3}, {"log": [0, -5], "curve": [1, 2, 3]}, {"log": [None, {}]}])
def test_anything_may_be_said_to_be_seen(ask, run, seen):
    write_step(run, 1)
    run.training_log.write_text("x\n")
    assert ask(seen=seen)["session"]["slug"] == "cat"


def test_a_damaged_state_is_shown_with_its_reason(ask, run):
    run.ui_state.write_text("{")
    answer = ask()
    assert answer["session"]["status"] == "unreadable"
    assert "JSON" in answer["session"]["reason"]

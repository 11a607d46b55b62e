"""Duplicate: settings, images and captions under a new name, with its parent recorded, and started in its own folder."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from fluxgym.dataset.folder import ImageFolder
from fluxgym.errors import BadName, NameTaken
from fluxgym.runs.paths import OutputsPaths
from fluxgym.runs.state import read_state
from fluxgym.sessions.control import wait_until_ended
from fluxgym.sessions.create import duplicate, free_copy_name
from fluxgym.sessions.history import diff, versions
from fluxgym.sessions.listing import list_sessions
from fluxgym.sessions.start import StartRequest, start
from tests.support.photos import write_cats
from tests.support.runs import make_run
from tests.support.small_installation import small_installation, state


@pytest.fixture(name="world")
def fixture_world(tmp_path):
    return small_installation(tmp_path)


@pytest.fixture(name="run")
def fixture_run(world, tmp_path):
    images = write_cats(tmp_path / "images", count=4, size=64, caption="sks cat")
    run = start(StartRequest(state=state(), images=images), world)
    wait_until_ended(run)
    return run


def test_copy_contains_all_but_training_output(run, world):
    copy = duplicate(run, "My cat, again")
    assert copy.slug == "my-cat-again"
    assert diff(read_state(run), read_state(copy)) == ['lora_name: "My Cat" → "My cat, again"']
    assert "resume_from_checkpoint" not in read_state(copy)  # a checkpoint to begin from is the parent's own
    assert versions(copy) == []
    assert read_state(copy)["parent"] == {"slug": "my-cat", "run_id": read_state(run)["run_id"]}
    assert ImageFolder(copy.dataset).items() == ImageFolder(run.dataset).items()
    ImageFolder(copy.dataset).set_caption("cat 1.png", "changed")
    assert ImageFolder(run.dataset).caption("cat 1.png") == "sks cat, crop 1"
    assert not copy.lora.exists()
    row = next(session for session in list_sessions(world.outputs) if session.slug == copy.slug)
    assert (row.status, row.reason.split(";")[0]) == ("stopped", "A copy that was not started yet")
    with pytest.raises(NameTaken):
        duplicate(run, "my cat again")
    with pytest.raises(BadName):
        duplicate(run, "🐱")


def test_copy_starts_in_its_own_folder_and_still_knows_its_parent(run, world):
    copy = duplicate(run, "again")
    begun = start(StartRequest(state=read_state(copy) | {"network_dim": 8}, images=copy.dataset), world)
    assert begun.folder == copy.folder
    wait_until_ended(begun)
    assert read_state(begun)["parent"]["slug"] == "my-cat"
    assert [version.state["network_dim"] for version in versions(begun)] == [read_state(run)["network_dim"]]  # the copy's
    assert len(list(OutputsPaths(world.outputs).archive.iterdir())) == 1


def test_finished_run_is_not_replaced_without_consent(run, world, tmp_path):
    run.ui_state.write_text(json.dumps(read_state(run) | {"parent": {"slug": "x"}}))
    with pytest.raises(NameTaken):
        start(StartRequest(state=state(), images=run.dataset), world)


def test_second_copy_of_same_name_returns_first(tmp_path):
    run = make_run(tmp_path, status="stopped")
    with ThreadPoolExecutor(8) as pool:
        tried = [pool.submit(duplicate, run, "again") for _ in range(8)]
    failed = [attempt.exception() for attempt in tried if attempt.exception()]
    assert len(failed) == 7
    assert all(isinstance(error, NameTaken) for error in failed)
    assert not list((tmp_path / ".fluxgym" / "new").iterdir())


def test_proposed_name_of_a_copy_is_free(tmp_path):
    run = make_run(tmp_path, "my-cat-lora", lora_name="My Cat LoRA!")
    assert free_copy_name(run) == "My Cat LoRA! 2"
    make_run(tmp_path, "my-cat-lora-2")
    assert free_copy_name(run) == "My Cat LoRA! 3"
    assert duplicate(run, free_copy_name(run)).slug == "my-cat-lora-3"
    long = make_run(tmp_path, "x" * 64, lora_name="x" * 64)
    assert duplicate(long, free_copy_name(long)).slug == "x" * 62 + "-2"

"""Runs that were forgotten or replaced are listed and can be put back, with all their files."""

import pytest

from fluxgym.errors import SessionNotFound
from fluxgym.runs.paths import OutputsPaths
from fluxgym.runs.state import read_state
from fluxgym.sessions.forget import forget
from fluxgym.sessions.listing import list_sessions
from fluxgym.sessions.removed_runs import list_removed, put_back
from tests.support.photos import write_cats
from tests.support.runs import make_run, write_checkpoint
from tests.support.small_installation import small_installation, start_run, stop_and_wait


def everything(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_forgotten_run_is_put_back(tmp_path):
    run = make_run(tmp_path, status="completed")
    run.lora.write_bytes(b"x")
    forget(run)
    (removed,) = list_removed(OutputsPaths(tmp_path))
    assert (removed.id, removed.removal, removed.lora_files) == ("cat", "forgotten", ("cat.safetensors",))
    assert put_back(OutputsPaths(tmp_path), "cat").folder == run.folder
    assert [session.slug for session in list_sessions(tmp_path)] == ["cat"]
    assert list_removed(OutputsPaths(tmp_path)) == []


def test_replaced_run_is_put_back_beside_one_that_replaced_it(tmp_path):
    world, outputs = small_installation(tmp_path), OutputsPaths(tmp_path / "outputs")
    write_cats(tmp_path / "images")
    old = make_run(outputs.root, "my-cat", lora_name="My Cat", status="completed", seed=7)
    for name in ("my-cat.safetensors", "my-cat-000004.safetensors"):
        (old.folder / name).write_bytes(b"old")
    write_checkpoint(old, "my-cat-000004-state", 4)
    before = everything(old.folder)
    new = start_run(world, tmp_path / "images", if_exists="replace")
    stop_and_wait(new)
    (removed,) = list_removed(outputs)
    assert (removed.slug, removed.removal, removed.removed_at > 0) == ("my-cat", "replaced", True)
    back = put_back(outputs, removed.id)
    assert (back.slug, back.lora.read_bytes(), read_state(back)["seed"]) == ("my-cat-2", b"old", 7)
    renamed = {"my-cat.safetensors": "my-cat-2.safetensors", "my-cat-000004.safetensors": "my-cat-2-000004.safetensors"}
    assert everything(back.folder) == sorted(renamed.get(name, name) for name in before)
    assert {session.slug for session in list_sessions(outputs.root)} == {"my-cat", "my-cat-2"}
    assert list_removed(outputs) == []


@pytest.mark.parametrize("name", ["../outputs", "gone", "cat"])
def test_skipped_and_removed_runs_are_both_reported(tmp_path, name):
    make_run(tmp_path, "cat")
    forget(make_run(tmp_path, "dog", status="stopped"))
    with pytest.raises(SessionNotFound, match="there are: dog"):
        put_back(OutputsPaths(tmp_path), name)

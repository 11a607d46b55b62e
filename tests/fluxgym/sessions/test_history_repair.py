"""Repair: a damaged state is rebuilt from known values and kept as a copy; a valid one is not changed."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from fluxgym.errors import AlreadyRunning, SessionError, StorageError
from fluxgym.planning.plan import plan
from fluxgym.runs.exit_record import ExitRecord, write_exit_record
from fluxgym.runs.process_identity import identify
from fluxgym.runs.state import read_state, update_state
from fluxgym.sessions.history import repair, save_version
from fluxgym.sessions.listing import list_sessions
from fluxgym.trainers.options import train_sh
from tests.support.photos import write_cats
from tests.support.runs import make_run, record_processes
from tests.support.small_installation import small_installation, state


@pytest.fixture(name="run")
def fixture_run(tmp_path):
    return make_run(tmp_path, status="stopped", max_train_epochs=4)


def test_newest_settings_of_history_and_recorded_outcome_are_restored(run, tmp_path):
    save_version(run)
    update_state(run, {"max_train_epochs": 8})
    save_version(run)
    write_exit_record(run, ExitRecord(run_id="id-cat", attempt=1, status="failed", reason_code="nan", reason="The loss became NaN."))
    run.ui_state.write_text('{"lora_name": "cat", "max_tr')
    repair(run)
    state = read_state(run)
    known = (state["lora_name"], state["max_train_epochs"], state["status"], state["reason_code"], state["run_id"])
    assert known == ("cat", 8, "failed", "nan", "id-cat")
    (damaged,) = run.folder.glob("ui_state.damaged-*")
    assert damaged.read_text() == '{"lora_name": "cat", "max_tr'
    assert [str(session.status) for session in list_sessions(tmp_path)] == ["failed"]


def test_without_history_settings_come_from_command(run):
    run.train_sh.write_text("accelerate launch x.py --max_train_epochs 12 --learning_rate 1e-4\n")
    run.ui_state.write_text("")
    state = repair(run)
    assert (state["lora_name"], state["max_train_epochs"], state["learning_rate"], state["status"]) == ("cat", 12, "1e-4", "stopped")


def test_run_that_never_trained_keeps_its_model_and_tier(tmp_path):
    world = small_installation(tmp_path)
    write_cats(tmp_path / "images", count=2, size=64)
    planned = plan(state(vram="16G", advanced={"network_alpha": 2}), tmp_path / "images", world)
    run = make_run(world.outputs, "queued", status="queued")
    run.train_sh.write_text(train_sh(planned.launch_spec().argv))
    run.dataset_toml.write_text(planned.dataset_toml)
    run.ui_state.write_text("{")
    repaired, config = repair(run), planned.config
    names = ("base_model", "vram", "num_repeats", "resolution", "learning_rate", "network_dim")
    assert {name: repaired[name] for name in names} == {name: getattr(config, name) for name in names}
    assert repaired["advanced"] == {**config.advanced, "reg_data_dir": str(world.models / "pocket" / "prior")}
    assert config.vram == "16G"


def test_valid_and_missing_state_are_not_changed(run):
    before = run.ui_state.read_bytes()
    with pytest.raises(SessionError, match="nothing to repair"):
        repair(run)
    assert run.ui_state.read_bytes() == before
    run.ui_state.unlink()
    with pytest.raises(SessionError, match="no run"):
        repair(run)
    assert not run.ui_state.exists()


DAMAGES = {
    "half": lambda path: path.write_text("{"),
    "link": lambda path: path.symlink_to("/etc/hostname"),
    "pipe": os.mkfifo,
    "folder": os.mkdir,
    "giant": lambda path: path.write_bytes(bytes(2 << 20)),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damaged_state_is_kept_and_repaired(damage, run):
    run.ui_state.unlink()
    damage(run.ui_state)
    before = run.ui_state.lstat()
    repair(run)
    assert read_state(run)["lora_name"] == "cat"
    (kept,) = run.folder.glob("ui_state.damaged-*")
    assert (kept.lstat().st_ino, kept.lstat().st_mode) == (before.st_ino, before.st_mode)


def live_here(run):
    me = identify(os.getpid(), "id-cat")
    record_processes(run, "id-cat", 1, me, me)


def live_on_another_host(run):
    other = replace(identify(os.getpid(), "id-cat"), boot_id="other", host="elsewhere")
    record_processes(run, "id-cat", 1, other, other)
    run.progress.write_text("{}")  # just now


@pytest.mark.parametrize("make_live", [live_here, live_on_another_host])
def test_state_of_live_run_is_not_repaired(make_live, run):
    run.ui_state.write_text("{")
    make_live(run)
    with pytest.raises(AlreadyRunning):
        repair(run)
    assert run.ui_state.read_text() == "{"
    assert list(run.folder.glob("ui_state.damaged-*")) == []


@pytest.mark.parametrize("broken", ["write", "rename"])
def test_repair_that_fails_leaves_everything_as_it_was(broken, run, monkeypatch):
    run.ui_state.write_text("{")
    files = sorted(path.name for path in run.folder.iterdir())

    def refuse(self, target):
        if broken == "write" or Path(target) == run.ui_state:
            raise OSError(28, "No space left on device")
        return self.rename(target)

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(StorageError, match="disk is full"):
        repair(run)
    monkeypatch.undo()
    assert run.ui_state.read_text() == "{"
    assert sorted(path.name for path in run.folder.iterdir() if not path.name.startswith("ui_state.damaged-")) == files
    repair(run)
    assert read_state(run)["lora_name"] == "cat"


def test_state_that_cannot_be_read_at_all_is_not_called_damaged(run, monkeypatch):
    before, real = run.ui_state.read_bytes(), os.open

    def failing(path, *rest, **more):
        if str(path) == str(run.ui_state):
            raise OSError(5, "Input/output error")
        return real(path, *rest, **more)

    monkeypatch.setattr(os, "open", failing)
    with pytest.raises(SessionError, match="not known whether"):
        repair(run)
    monkeypatch.undo()
    assert run.ui_state.read_bytes() == before

"""Repair: a damaged state is written again from what is known, and kept beside it; a good one is left alone."""

import pytest

from fluxgym.errors import SessionError
from fluxgym.planning.plan import plan
from fluxgym.runs.exit_record import ExitRecord, write_exit_record
from fluxgym.runs.state import read_state, update_state
from fluxgym.sessions.history import repair, save_version
from fluxgym.sessions.listing import list_sessions
from fluxgym.trainers.options import train_sh
from tests.support.photos import write_cats
from tests.support.runs import make_run
from tests.support.small_world import small_world, state


@pytest.fixture(name="run")
def fixture_run(tmp_path):
    return make_run(tmp_path, status="stopped", max_train_epochs=4)


def test_the_newest_settings_of_the_history_and_the_end_that_was_written_come_back(run, tmp_path):
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


def test_without_a_history_the_settings_come_from_the_command(run):
    run.train_sh.write_text("accelerate launch x.py --max_train_epochs 12 --learning_rate 1e-4\n")
    run.ui_state.write_text("")
    state = repair(run)
    assert (state["lora_name"], state["max_train_epochs"], state["learning_rate"], state["status"]) == ("cat", 12, "1e-4", "stopped")


def test_a_run_that_never_trained_keeps_its_model_and_tier(tmp_path):
    world = small_world(tmp_path)
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


def test_a_good_state_and_none_are_left_alone(run):
    before = run.ui_state.read_bytes()
    with pytest.raises(SessionError, match="nothing to repair"):
        repair(run)
    assert run.ui_state.read_bytes() == before
    run.ui_state.unlink()
    with pytest.raises(SessionError, match="no run"):
        repair(run)
    assert not run.ui_state.exists()

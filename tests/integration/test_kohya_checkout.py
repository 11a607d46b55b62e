"""A checkout of kohya's under the real launcher: progress from its output, a verified end, a stop that reports what is lost, a resume."""

import json
import os
import signal
from dataclasses import replace

import pytest

from fluxgym.errors import LaunchError, NothingToResume
from fluxgym.runs.checkpoints import list_complete
from fluxgym.runs.exit_record import read_exit
from fluxgym.runs.launch_spec import read_launch_spec
from fluxgym.runs.process_identity import group_members, is_alive, read_record
from fluxgym.runs.progress import read_last
from fluxgym.runs.snapshot import RunSnapshot
from fluxgym.sessions.control import request_stop, wait_until_ended
from fluxgym.sessions.listing import session_of
from fluxgym.sessions.resume import resume, resume_preview
from fluxgym.sessions.start import StartRequest, start
from fluxgym.supervisor.lease_keeper import LeaseKeeper
from fluxgym.trainers.builtin import BuiltinBackend
from fluxgym.trainers.kohya.backend import KohyaBackend
from tests.support.curves import read_curve
from tests.support.fake_kohya import write_checkout
from tests.support.photos import write_cats
from tests.support.runs import wait_for
from tests.support.small_installation import small_installation, state

STEPS = 32  # 4 images, 2 repeats, 4 epochs


@pytest.fixture(name="world")
def fixture_world(tmp_path):
    return replace(small_installation(tmp_path / "world"), sd_scripts=write_checkout(tmp_path / "kohya"))


@pytest.fixture(name="begin")
def fixture_begin(world, tmp_path, monkeypatch):
    images = write_cats(tmp_path / "cats", size=64)

    def begin(step_s=0.02, **changes):
        monkeypatch.setenv("FAKE_STEP_S", str(step_s))
        settings = state(max_train_epochs=4, save_every_n_epochs=1, enable_checkpointing=True, **changes)
        return start(StartRequest(state=settings, images=images), world)

    return begin


def lines_of(run):
    return [json.loads(line) for line in run.progress.read_text().splitlines()]


def reach(run, step):
    wait_for(lambda: (read_last(run.progress) or {}).get("step", 0) >= step)


def test_kohya_progress_comes_from_its_output_and_its_lora_is_verified(begin):
    run = begin(sample_every_n_steps=10, sample_prompts="saving checkpoint: a cat")
    end = wait_until_ended(run)
    lines = lines_of(run)
    phases = [line["phase"] for line in lines]
    firsts = [phase for index, phase in enumerate(phases) if phase not in phases[:index]]
    assert end.status == "completed", end.reason
    assert [phase for phase in firsts if phase != "sampling"] == ["loading", "caching", "training", "saving", "done", "verifying"]
    assert "sampling" in phases
    assert lines[-1] | {"phase": "done", "step": STEPS, "total_steps": STEPS, "epoch": 4, "attempt": 1} == lines[-1]
    assert [line["step"] for line in lines] == sorted(line["step"] for line in lines)
    assert any(line.get("item") and line["num_items"] == 4 for line in lines if line["phase"] == "caching")
    assert all(
        0.9 / step < loss < 1.1 / max(1, step - 1) for step, loss in read_curve(run.progress)
    )  # it shows the last step's for a moment
    assert read_exit(run).verified["ok"]


def test_kohya_progress_is_written_at_most_twice_per_second_within_phase(begin):
    run = begin(step_s=0.05)
    wait_until_ended(run)
    training = [line for line in lines_of(run) if line["phase"] == "training" and line["epoch"] == 2]
    assert 1 <= len(training) <= 3  # of eight steps in less than half a second


@pytest.mark.parametrize(("step", "saved", "words"), [(12, 8, "no state was saved at this step"), (16, 16, "its state was saved")])
def test_kohya_stop_reports_saved_state_and_resume_starts_at_last_state(begin, world, monkeypatch, step, saved, words):
    monkeypatch.setenv("FAKE_HOLD_AFTER", str(step))
    run = begin()
    reach(run, step)
    wait_for(lambda: [checkpoint.step for checkpoint in list_complete(run, KohyaBackend())][:1] == [saved])
    request_stop(run)
    end = wait_until_ended(run)
    assert (end.status, end.reason_code) == ("stopped", "user")
    assert words in end.reason
    assert session_of(run).progress["step"] == step
    newest = list_complete(run, KohyaBackend())[0]
    assert (newest.step, newest.epoch, newest.total_steps) == (saved, saved // 8, STEPS)
    assert not list_complete(run, BuiltinBackend())
    assert resume_preview(RunSnapshot.read(run)).checkpoint == newest.name
    assert "inexactly" in resume_preview(RunSnapshot.read(run)).message()
    monkeypatch.delenv("FAKE_HOLD_AFTER")
    resume(run, settings=world)
    assert wait_until_ended(run).status == "completed"
    second = [line for line in lines_of(run) if line["attempt"] == 2 and line["phase"] == "training" and "loss" in line]
    assert second[0]["epoch"] == newest.epoch + 1
    assert all(newest.step <= line["step"] <= 8 * line["epoch"] for line in second)
    assert next(line["step"] for line in lines_of(run) if line["attempt"] == 2) == 0
    assert lines_of(run)[-1]["step"] == STEPS
    assert f"--initial_epoch {newest.epoch + 1}" in " ".join(read_launch_spec(run).argv)


def test_trainer_whose_supervisor_was_killed_continues_until_another_start_takes_its_folder(begin):
    run = begin(step_s=0.2)
    reach(run, 3)
    record = read_record(run)
    os.kill(record.supervisor.pid, signal.SIGKILL)
    size = run.training_log.stat().st_size
    wait_for(lambda: run.training_log.stat().st_size > size + 500)
    session = session_of(run)
    assert (session.status, session.monitoring) == ("running", False)
    LeaseKeeper.take(run.lease)  # as a supervisor of another host does
    wait_for(lambda: not is_alive(record.trainer) and not group_members(record.trainer.pid))
    assert (read_last(run.progress) or {}).get("step", 0) < STEPS
    assert not run.lora.exists()


def test_checkpoint_of_another_trainer_is_not_used_for_resume(begin, world, tmp_path):
    run = begin(step_s=0.002)
    assert wait_until_ended(run).status == "completed"
    ours = small_installation(tmp_path / "ours")
    with pytest.raises(NothingToResume, match="--sd-scripts"):
        resume(run, settings=replace(world, sd_scripts=ours.sd_scripts), epochs=6)


def test_option_missing_in_checkout_is_refused_with_its_name(begin, world):
    options = world.sd_scripts / "library" / "train_util.py"
    options.write_text(options.read_text().replace('"--guidance_scale"', '"--other"'))
    with pytest.raises(LaunchError, match="does not know --guidance_scale"):
        begin()
    assert not list(world.outputs.glob("*/ui_state.json"))

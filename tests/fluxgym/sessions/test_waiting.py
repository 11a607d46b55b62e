"""Waiting runs that nothing would start: without a dispatcher, of an earlier version, and from a folder of another installation."""

import json
import os
import sys
import time
from dataclasses import replace

import pytest

from fluxgym.app_settings import Settings
from fluxgym.contract.codes import Status
from fluxgym.engines.local_queue import LocalQueue
from fluxgym.engines.registry import engine_of, status_of
from fluxgym.engines.tickets import Tickets
from fluxgym.errors import LaunchError, NamesCode
from fluxgym.runs.atomic_files import write_json
from fluxgym.runs.launch_spec import read_launch_spec, read_own_launch_spec
from fluxgym.runs.paths import OutputsPaths
from fluxgym.runs.process_identity import identify
from fluxgym.runs.state import read_state
from fluxgym.sessions import waiting
from fluxgym.sessions.control import cancel_waiting, wait_until_ended
from fluxgym.sessions.resume import resume
from fluxgym.sessions.waiting import keep_restarting_waiting, restart_waiting
from tests.support.runs import record_processes, wait_for, write_checkpoint
from tests.support.small_installation import start_run, stop_and_wait


@pytest.fixture(name="waits")
def fixture_waits(world, images):
    """Return a function that makes a run wait with a launch.json that this installation did not sign, with some keys changed."""

    def make(*, changes=None, **settings):
        run = start_run(world, images, **settings)
        stop_and_wait(run)
        for path in (run.exit, run.process, run.lora, run.progress, run.stop, run.stop_reserve):
            path.unlink(missing_ok=True)
        state = {key: value for key, value in read_state(run).items() if key not in ("reason", "reason_code", "completed_at")}
        write_json(run.ui_state, state | {"status": "queued"})
        launch = json.loads(run.launch.read_text()) | (changes or {})
        run.launch.write_text(json.dumps({key: value for key, value in launch.items() if key != "signature"}))
        Tickets(OutputsPaths(world.outputs)).join(run, state["run_id"], ["cpu"])
        return run

    return make


def wait_until_completed(run):
    """Wait until a run whose supervisor is being restarted is completed."""
    wait_for(lambda: status_of(run, read_state(run)).status is Status.COMPLETED)


def test_run_queued_by_earlier_version_is_started(world, waits):
    run = waits()
    assert read_own_launch_spec(run) is None
    assert restart_waiting(world) == ("my-cat",)
    wait_until_completed(run)


def test_unsigned_command_is_not_executed(world, waits, tmp_path):
    touched = tmp_path / "executed"
    command = [sys.executable, "-c", f"open({str(touched)!r}, 'w')"]
    evil = tmp_path / "evil"
    evil.mkdir()
    (evil / "flux_train_network.py").write_text(f"open({str(touched)!r}, 'w')")
    (evil / "sitecustomize.py").write_text(f"open({str(touched)!r}, 'w')")
    run = waits(
        changes={"argv": command, "cwd": str(evil), "env": {"PYTHONPATH": str(evil)}, "options": {"--optimizer_type": ["evil.Adam"]}}
    )
    assert restart_waiting(world) == ("my-cat",)
    wait_until_completed(run)
    own = read_own_launch_spec(run)
    assert (own.trainer_dir, own.env, own.argv[0]) == (str(world.sd_scripts), {}, sys.executable)
    assert not touched.exists()


def test_supervisor_of_launch_that_is_not_ours_starts_nothing(world, waits):
    run = waits()
    with pytest.raises(LaunchError, match="not of this installation"):
        engine_of(run).submit(run, read_launch_spec(run))


def test_run_that_names_module_waits_for_click_that_shows_it(world, waits):
    own_module = {"reg_data_dir": "", "train_batch_size": 1, "enable_bucket": False, "optimizer_type": "evil.mod.Adam"}
    run = waits(advanced=own_module)
    assert restart_waiting(world) == ()
    end = status_of(run, read_state(run))
    assert end.status is Status.STOPPED
    assert "runs the Python module “evil.mod” (optimizer_type)" in end.reason
    assert not run.ticket.exists()
    write_checkpoint(run, "my-cat-step00000004-state", 4)
    with pytest.raises(NamesCode, match=r"evil\.mod"):
        resume(run, settings=world)
    assert read_own_launch_spec(run) is None
    resume(run, settings=world, agreed=["NamesCode"])
    wait_until_ended(run)
    resume(run, settings=world, epochs=2)  # from now on this installation has started it so
    stop_and_wait(run)


def test_resume_that_waited_continues_from_checkpoint_that_it_was_given(world, waits):
    run = waits()
    for step in (2, 4):
        write_checkpoint(run, f"my-cat-step{step:08d}-state", step)
    launch = json.loads(run.launch.read_text()) | {"attempt": 2, "resume_from": f"/elsewhere/{run.slug}-step00000002-state"}
    run.launch.write_text(json.dumps(launch))
    assert restart_waiting(world) == ("my-cat",)
    own = read_own_launch_spec(run)
    assert (own.attempt, own.resume_from) == (2, str(run.folder / "my-cat-step00000002-state"))
    wait_until_completed(run)


def test_run_that_cannot_be_prepared_again_fails_with_reason(world, waits):
    run = waits()
    missing = Settings(outputs=world.outputs, models=world.outputs / "no-models", sd_scripts=world.sd_scripts)
    assert restart_waiting(missing) == ()
    end = status_of(run, read_state(run))
    assert end.status is Status.FAILED
    assert end.reason.startswith("It waited in the queue, and it could not be prepared again: ")
    assert not run.ticket.exists()


def test_waiting_run_that_is_not_ours_can_be_canceled_without_executing_anything(world, waits):
    run = waits(changes={"argv": ["false"]})
    cancel_waiting(run)
    assert status_of(run, read_state(run)).status is Status.STOPPED
    assert not run.ticket.exists()
    assert not run.process.exists()


class AppEnded(Exception):
    """Ends what the app repeats."""


def test_open_app_checks_queue_periodically(world, waits, monkeypatch):
    """The run waits on another host, a container that was replaced: its lease is not renewed any more."""
    run = waits()
    there = replace(identify(os.getpid(), "x"), boot_id="another", host="pod")
    record_processes(run, read_state(run)["run_id"], 1, there, None)
    run.lease.touch()
    looked, pause = [], time.sleep

    def sleep(seconds):
        if seconds != 7.5:
            pause(seconds)
            return
        looked.append(seconds)
        if len(looked) > 2:
            raise AppEnded
        for path in (run.lease, run.training_log, run.monitor_log):
            if path.exists():
                os.utime(path, (time.time() - 300,) * 2)

    with monkeypatch.context() as patch:
        patch.setattr(waiting.time, "sleep", sleep)
        patch.setattr(waiting, "RETRY_S", 7.5)
        with pytest.raises(AppEnded):
            keep_restarting_waiting(world)
    assert len(looked) == 3
    wait_until_completed(run)


def test_queue_thread_survives_errors(world, monkeypatch):
    monkeypatch.setattr(LocalQueue, "abandoned", lambda self: {}[[]])
    assert restart_waiting(world) == ()

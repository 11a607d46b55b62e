"""Stop reaches a trainer in every phase, even if its files were removed or damaged, and never another run's trainer."""

import json
import os
import signal
import sys
from dataclasses import replace

import pytest

from fluxgym.contract.codes import Status
from fluxgym.engines.registry import engine_of
from fluxgym.runs.exit_record import read_exit
from fluxgym.runs.launch_spec import LaunchSpec, read_stop_request, write_launch_spec
from fluxgym.runs.process_identity import identify, is_alive, read_record, start_ticks
from fluxgym.sessions.control import request_stop, wait_until_ended
from tests.support.runs import STOPPABLE_TRAINER, launch, make_run, record_processes, state_of, wait_for, wait_until_running


def test_stop_with_damaged_launch_file_stops_trainer(run):
    launch(run, STOPPABLE_TRAINER)
    wait_until_running(run)
    run.launch.write_text("{")
    assert request_stop(run)
    end = wait_until_ended(run)
    assert (end.status, end.reason_code) == (Status.STOPPED, "user")


@pytest.mark.parametrize("is_supervised", [True, False])
def test_stop_with_damaged_record_of_processes_stops_trainer(run, is_supervised):
    launch(run, STOPPABLE_TRAINER)
    wait_until_running(run)
    record = read_record(run)
    if not is_supervised:
        os.kill(record.supervisor.pid, signal.SIGKILL)
        wait_for(lambda: not is_alive(record.supervisor))
    run.process.write_text("{")
    assert request_stop(run)
    wait_for(lambda: not is_alive(record.trainer) and not is_alive(record.supervisor))
    assert wait_until_ended(run).status is Status.STOPPED
    assert not request_stop(run)


def test_stop_before_trainer_starts_prevents_its_start(tmp_path):
    run = make_run(tmp_path)
    argv = (sys.executable, "-c", "open('started', 'w')", str(run.folder))
    spec = LaunchSpec(run_id="id-cat", attempt=1, argv=argv, trainer_dir=str(run.folder))
    write_launch_spec(run, spec)
    assert request_stop(run)
    engine_of(run).submit(run, spec)
    ended = wait_until_ended(run)
    assert (ended.status, ended.reason_code) == ("stopped", "user")
    assert not (run.folder / "started").exists()


def test_stop_on_another_host_writes_stop_request(tmp_path):
    run = make_run(tmp_path, status="running")
    write_launch_spec(run, LaunchSpec(run_id="id-cat", attempt=1, argv=("true",), trainer_dir=str(run.folder)))
    me = identify(os.getpid(), "id-cat")
    elsewhere = replace(me, boot_id="another", host="another")
    record_processes(run, "id-cat", 1, elsewhere, elsewhere)
    run.progress.touch()
    assert request_stop(run)
    assert read_stop_request(run, "id-cat", 1) is not None


def test_stop_of_ended_run_does_nothing(tmp_path):
    run = make_run(tmp_path, status="stopped")
    write_launch_spec(run, LaunchSpec(run_id="id-cat", attempt=1, argv=("true",), trainer_dir=str(run.folder)))
    assert not request_stop(run)
    assert read_stop_request(run, "id-cat", 1) is None


def test_stop_with_replaced_launch_file_stops_trainer(run):
    launch(run, STOPPABLE_TRAINER)
    wait_until_running(run)
    run.launch.write_text(json.dumps(json.loads(run.launch.read_text()) | {"run_id": "another"}))
    assert request_stop(run)
    assert wait_until_ended(run).reason_code == "user"


def test_outcome_of_removed_run_does_not_overwrite_new_run_of_same_name(run):
    launch(run, STOPPABLE_TRAINER)
    wait_until_running(run)
    record = read_record(run)
    run.ui_state.write_text(json.dumps(state_of(run) | {"run_id": "the-next"}))
    request_stop(run)
    wait_for(lambda: start_ticks(record.supervisor.pid) != record.supervisor.start_ticks)
    assert (state_of(run)["status"], state_of(run)["run_id"]) == ("running", "the-next")
    assert read_exit(run) is None

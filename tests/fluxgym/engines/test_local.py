"""The local engine: what it observes of recorded processes, which orphans it finds, and what it does about dead supervisors."""

import os
import signal
import subprocess
import sys
import time

import pytest

from fluxgym.engines.dispatcher_process import DISPATCHER_ENDED, DispatcherProcess
from fluxgym.engines.registry import status_of
from fluxgym.engines.tickets import Tickets
from fluxgym.errors import LaunchError, StorageError
from fluxgym.runs.launch_spec import DeviceRequest, LaunchSpec, read_stop_request, write_launch_spec
from fluxgym.runs.paths import OutputsPaths
from fluxgym.runs.process_identity import identify, is_frozen
from fluxgym.runs.snapshot import RunSnapshot
from fluxgym.runs.state import read_state
from fluxgym.runs.status import EnginePhase
from tests.support.identities import DEAD, OTHER_HOST, OWN, identity
from tests.support.runs import make_run, record_processes, wait_for

CPU = DeviceRequest(kind="cpu")


@pytest.fixture(name="sleeper")
def fixture_sleeper():
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield process
    process.kill()
    process.wait()


def observed(engine, run):
    return engine.observe([RunSnapshot(run, {})])["cat"]


QUEUED = [  # stored status, run id of the ticket, supervisor
    ("queued", "id-cat", DEAD, EnginePhase.WAITING),
    ("starting", "id-cat", DEAD, EnginePhase.WAITING),
    ("queued", "id-cat", OWN, EnginePhase.PENDING),
    ("queued", "of another start", DEAD, EnginePhase.GONE),
    ("stopped", "id-cat", DEAD, EnginePhase.GONE),
    ("queued", "id-cat", OTHER_HOST, EnginePhase.WAITING),  # which is silent
]


@pytest.mark.parametrize(("status", "run_id", "supervisor", "phase"), QUEUED)
def test_run_with_ticket_and_without_process_is_waiting(engine, tmp_path, status, run_id, supervisor, phase):
    run = make_run(tmp_path, status=status, reason="Waiting for the CPU.")
    record_processes(run, "id-cat", 1, identity(supervisor), None)
    Tickets(OutputsPaths(tmp_path)).join(run, run_id, ["cpu"])
    found = engine.observe([RunSnapshot(run, read_state(run))])["cat"]
    assert found.phase is phase
    if phase is EnginePhase.WAITING:
        assert (status_of(run, read_state(run)).status, found.reason) == ("queued", DISPATCHER_ENDED)
        DispatcherProcess(OutputsPaths(tmp_path)).record()
        assert status_of(run, read_state(run)).reason == "Waiting for the CPU."


def test_waiting_run_of_another_host_is_unreachable(engine, tmp_path):
    run = make_run(tmp_path, status="queued")
    record_processes(run, "id-cat", 1, identity(OTHER_HOST), None)
    Tickets(OutputsPaths(tmp_path)).join(run, "id-cat", ["cpu"])
    run.lease.write_text("{}")
    assert status_of(run, read_state(run)).reason == "It waits on another machine, pod."
    assert engine.queue.abandoned() == ()
    os.utime(run.lease, (time.time() - 300,) * 2)
    assert status_of(run, read_state(run)).reason == DISPATCHER_ENDED


def test_observe_returns_states_of_many_runs(engine, run, tmp_path):
    other = make_run(tmp_path, "dog")
    record_processes(run, "id-cat", 1, identity(OWN), identity(OWN))
    found = engine.observe([RunSnapshot(run, {}), RunSnapshot(other, {})])
    assert {slug: state.phase for slug, state in found.items()} == {"cat": EnginePhase.ACTIVE, "dog": EnginePhase.GONE}


def test_frozen_supervisor_after_trainers_end_is_explained(engine, run, sleeper):
    supervisor = wait_for(lambda: identify(sleeper.pid, "id-cat"))
    record_processes(run, "id-cat", 1, supervisor, identity(DEAD))
    assert observed(engine, run).reason == ""
    sleeper.send_signal(signal.SIGSTOP)
    wait_for(lambda: is_frozen(supervisor))
    assert f"(PID {sleeper.pid}) is frozen" in observed(engine, run).reason


@pytest.mark.parametrize("program", ["fluxgym.supervisor", "fluxgym.launch.supervisor", "/trainer/flux_train_network.py"])
def test_orphans_are_found_by_their_command_line(engine, run, tmp_path, program):
    other = make_run(tmp_path, "dog")
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", program, str(run.folder)])
    try:
        assert wait_for(lambda: engine.orphans([run, other])) == {"cat": f"PID {process.pid}"}
    finally:
        process.kill()
        process.wait()
    assert engine.orphans([run, other]) == {}


def test_another_program_with_folder_in_its_command_line_is_not_orphan(engine, run):
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", "tail", str(run.folder)])
    try:
        assert engine.orphans([run]) == {}
    finally:
        process.kill()
        process.wait()


def test_attempt_with_live_supervisor_is_not_submitted_again(engine, run):
    spec = LaunchSpec(run_id="id-cat", attempt=2, trainer_dir="/")
    record_processes(run, "id-cat", 2, identity(OWN), None)
    engine.submit(run, spec)
    assert not run.monitor_log.exists()


def test_supervisor_that_cannot_start_is_reported_with_end_of_its_log(engine, run):
    with pytest.raises(LaunchError, match=r"launch\.json is missing"):  # nothing was written for it
        engine.submit(run, LaunchSpec(run_id="id-cat", attempt=1, trainer_dir="/"))


@pytest.mark.parametrize("make", [lambda path, other: path.symlink_to(other), lambda path, _: os.mkfifo(path)])
def test_log_that_is_link_or_pipe_is_not_opened(make, engine, run, tmp_path):
    (tmp_path / "precious").write_text("mine")
    make(run.monitor_log, tmp_path / "precious")
    with pytest.raises(StorageError, match=r"monitor\.log cannot be used: it is a (link|named pipe)"):
        engine.submit(run, LaunchSpec(run_id="id-cat", attempt=1, trainer_dir="/"))
    assert (tmp_path / "precious").read_text() == "mine"


def test_stop_request_reaches_run_on_another_host(engine, run):
    write_launch_spec(run, LaunchSpec(run_id="id-cat", attempt=3, trainer_dir="/"))
    record_processes(run, "id-cat", 3, identity(OTHER_HOST), identity(OTHER_HOST))
    run.progress.touch()
    assert engine.cancel(run, grace_s=7.0)
    assert read_stop_request(run, "id-cat", 3).grace_s == 7.0


def test_frozen_supervisor_before_trainers_start_is_explained(engine, tmp_path, sleeper):
    run = make_run(tmp_path, status="queued", reason="Waiting for the CPU; it is next.")
    supervisor = wait_for(lambda: identify(sleeper.pid, "id-cat"))
    record_processes(run, "id-cat", 1, supervisor, None)
    assert status_of(run, read_state(run)).reason == "Waiting for the CPU; it is next."
    sleeper.send_signal(signal.SIGSTOP)
    wait_for(lambda: is_frozen(supervisor))
    assert status_of(run, read_state(run)).status == "queued"
    assert f"(PID {sleeper.pid}) is frozen" in status_of(run, read_state(run)).reason

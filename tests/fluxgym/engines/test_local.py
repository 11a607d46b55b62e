"""The local engine: what it observes of recorded processes, which orphans it finds, and what it does about dead supervisors."""

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import datetime

import pytest

from fluxgym.engines.base import Engine
from fluxgym.engines.tickets import Tickets
from fluxgym.engines.dispatcher_process import DISPATCHER_ENDED, DispatcherProcess
from fluxgym.engines.local import LOST_POSITION, LocalEngine
from fluxgym.engines.registry import status_of
from fluxgym.engines.waiting_reasons import WAITS_FOR_APP
from fluxgym.engines.waiting_runs import WaitingRuns
from fluxgym.errors import LaunchError, StorageError
from fluxgym.runs.launch_spec import DeviceRequest, LaunchSpec, read_stop_request, write_launch_spec
from fluxgym.runs.paths import OutputsPaths, RunPaths
from fluxgym.runs.process_identity import identify, init_started_at, is_frozen
from fluxgym.runs.snapshot import RunSnapshot
from fluxgym.runs.state import read_state, update_state
from fluxgym.runs.status import EnginePhase
from fluxgym.sessions.control import cancel_waiting
from tests.support.runs import dead_process, make_run, record_processes, wait_for, write_ticket

CPU = DeviceRequest(kind="cpu")


@pytest.fixture(name="run")
def fixture_run(tmp_path):
    return make_run(tmp_path)


@pytest.fixture(name="engine")
def fixture_engine(tmp_path) -> Engine:
    return LocalEngine(OutputsPaths(tmp_path))


@pytest.fixture(name="sleeper")
def fixture_sleeper():
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield process
    process.kill()
    process.wait()


OWN = "own"
DEAD = {"start_ticks": 1}
REBOOTED = {"boot_id": "of an earlier boot"}
OTHER_HOST = {"boot_id": "of another boot", "host": "pod"}
OBSERVED = [  # supervisor, trainer; OWN is alive
    (OWN, OWN, EnginePhase.ACTIVE, True),
    (DEAD, OWN, EnginePhase.ACTIVE, False),
    (None, OWN, EnginePhase.ACTIVE, False),
    (OWN, None, EnginePhase.PENDING, True),
    (OWN, DEAD, EnginePhase.FINISHING, True),
    (DEAD, DEAD, EnginePhase.GONE, False),
    (DEAD, None, EnginePhase.GONE, False),
    (None, None, EnginePhase.GONE, False),
    (REBOOTED, REBOOTED, EnginePhase.GONE, False),
    (OTHER_HOST, OTHER_HOST, EnginePhase.UNREACHABLE, False),
]


def identity(kind):
    own = identify(os.getpid(), "id-cat")
    return None if kind is None else own if kind == OWN else replace(own, **kind)


def observed(engine, run):
    return engine.observe([RunSnapshot(run, {})])["cat"]


@pytest.mark.parametrize(("supervisor", "trainer", "phase", "is_supervised"), OBSERVED)
def test_phase_follows_from_the_recorded_processes(engine, run, supervisor, trainer, phase, is_supervised):
    record_processes(run, "id-cat", 1, identity(supervisor), identity(trainer))
    found = observed(engine, run)
    assert (found.phase, found.is_supervised) == (phase, is_supervised)
    assert found.node == ("pod" if phase is EnginePhase.UNREACHABLE else "")
    assert ("restarted" in found.reason) == (supervisor == REBOOTED)


def test_a_restarted_container_says_when_it_was_started_itself(engine, run):
    before = identity({"init_ticks": 7})
    record_processes(run, "id-cat", 1, before, before)
    started = datetime.fromtimestamp(init_started_at())
    assert observed(engine, run).reason == f"The container restarted at {started:%Y-%m-%d %H:%M}."
    record_processes(run, "id-cat", 1, replace(before, boot_id="another"), replace(before, boot_id="another"))
    assert observed(engine, run).reason.startswith("The machine or container restarted at ")


QUEUED = [  # stored status, run id of the ticket, supervisor
    ("queued", "id-cat", DEAD, EnginePhase.WAITING),
    ("starting", "id-cat", DEAD, EnginePhase.WAITING),
    ("queued", "id-cat", OWN, EnginePhase.PENDING),
    ("queued", "of another start", DEAD, EnginePhase.GONE),
    ("stopped", "id-cat", DEAD, EnginePhase.GONE),
    ("queued", "id-cat", OTHER_HOST, EnginePhase.WAITING),  # which is silent
]


@pytest.mark.parametrize(("status", "run_id", "supervisor", "phase"), QUEUED)
def test_a_run_with_a_ticket_of_its_start_and_without_a_process_waits(engine, tmp_path, status, run_id, supervisor, phase):
    run = make_run(tmp_path, status=status, reason="Waiting for the CPU.")
    record_processes(run, "id-cat", 1, identity(supervisor), None)
    Tickets(OutputsPaths(tmp_path)).join(run, run_id, ["cpu"])
    found = engine.observe([RunSnapshot(run, read_state(run))])["cat"]
    assert found.phase is phase
    if phase is EnginePhase.WAITING:
        assert (status_of(run, read_state(run)).status, found.reason) == ("queued", DISPATCHER_ENDED)
        DispatcherProcess(OutputsPaths(tmp_path)).record()
        assert status_of(run, read_state(run)).reason == "Waiting for the CPU."


def test_a_live_run_of_another_host_that_waits_is_out_of_reach(engine, tmp_path):
    run = make_run(tmp_path, status="queued")
    record_processes(run, "id-cat", 1, identity(OTHER_HOST), None)
    Tickets(OutputsPaths(tmp_path)).join(run, "id-cat", ["cpu"])
    run.lease.write_text("{}")
    assert status_of(run, read_state(run)).reason == "It waits on another machine, pod."
    assert engine.abandoned() == ()
    os.utime(run.lease, (time.time() - 300,) * 2)
    assert status_of(run, read_state(run)).reason == DISPATCHER_ENDED


def test_one_call_observes_many_runs(engine, run, tmp_path):
    other = make_run(tmp_path, "dog")
    record_processes(run, "id-cat", 1, identity(OWN), identity(OWN))
    found = engine.observe([RunSnapshot(run, {}), RunSnapshot(other, {})])
    assert {slug: state.phase for slug, state in found.items()} == {"cat": EnginePhase.ACTIVE, "dog": EnginePhase.GONE}


def test_a_frozen_supervisor_after_the_trainers_end_is_explained(engine, run, sleeper):
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


def test_another_program_with_the_folder_in_its_command_line_is_not_an_orphan(engine, run):
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", "tail", str(run.folder)])
    try:
        assert engine.orphans([run]) == {}
    finally:
        process.kill()
        process.wait()


def test_an_attempt_with_a_live_supervisor_is_not_submitted_again(engine, run):
    spec = LaunchSpec(run_id="id-cat", attempt=2, trainer_dir="/")
    record_processes(run, "id-cat", 2, identity(OWN), None)
    engine.submit(run, spec)
    assert not run.monitor_log.exists()


def test_an_assigned_run_keeps_the_devices_that_its_starter_sees(engine, monkeypatch):
    spec = LaunchSpec(run_id="id-cat", attempt=1, trainer_dir="/")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert engine.assign(spec, None).env == {}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert engine.assign(spec, None).env == {"CUDA_VISIBLE_DEVICES": ""}
    assert engine.assign(spec, "0,1").env == {"CUDA_VISIBLE_DEVICES": "0,1"}


def test_a_supervisor_that_cannot_start_is_reported_with_the_end_of_its_log(engine, run):
    with pytest.raises(LaunchError, match=r"launch\.json is missing"):  # nothing was written for it
        engine.submit(run, LaunchSpec(run_id="id-cat", attempt=1, trainer_dir="/"))


@pytest.mark.parametrize("make", [lambda path, other: path.symlink_to(other), lambda path, _: os.mkfifo(path)])
def test_a_log_that_is_a_link_or_a_pipe_is_neither_followed_nor_waited_for(make, engine, run, tmp_path):
    (tmp_path / "precious").write_text("mine")
    make(run.monitor_log, tmp_path / "precious")
    with pytest.raises(StorageError, match=r"monitor\.log cannot be used: it is a (link|named pipe)"):
        engine.submit(run, LaunchSpec(run_id="id-cat", attempt=1, trainer_dir="/"))
    assert (tmp_path / "precious").read_text() == "mine"


def test_a_stop_request_reaches_a_run_on_another_host(engine, run):
    write_launch_spec(run, LaunchSpec(run_id="id-cat", attempt=3, trainer_dir="/"))
    record_processes(run, "id-cat", 3, identity(OTHER_HOST), identity(OTHER_HOST))
    run.progress.touch()
    assert engine.cancel(run, grace_s=7.0)
    assert read_stop_request(run, "id-cat", 3).grace_s == 7.0


def test_reconcile_removes_tickets_of_runs_that_do_not_wait(engine, run):
    write_launch_spec(run, LaunchSpec(run_id="id-cat", attempt=1, trainer_dir="/"))
    Tickets(OutputsPaths(run.folder.parent)).join(run, "id-cat", ["cpu"])
    run.ui_state.write_text(run.ui_state.read_text().replace("starting", "stopped"))
    assert engine.waiting() == ("cat",)
    assert engine.reconcile() == ()
    assert engine.waiting() == ()


def test_reconcile_keeps_the_ticket_of_a_run_whose_state_cannot_be_read(engine, run):
    write_launch_spec(run, LaunchSpec(run_id="id-cat", attempt=1, trainer_dir="/"))
    Tickets(OutputsPaths(run.folder.parent)).join(run, "id-cat", ["cpu"])
    run.ui_state.write_text("{")
    record_processes(run, "id-cat", 1, identity(OWN), None)
    assert engine.reconcile() == ()
    assert engine.waiting() == ("cat",)


@pytest.mark.parametrize("damage", ["", "{", None], ids=["empty", "torn", "missing"])
def test_reconcile_ends_a_waiting_run_whose_launch_spec_is_damaged(engine, tmp_path, caplog, damage):
    run = make_run(tmp_path, status="queued", reason="Waiting for the CPU; it is next.")
    record_processes(run, "id-cat", 1, dead_process("id-cat"), None)
    Tickets(OutputsPaths(tmp_path)).join(run, "id-cat", ["cpu"])
    if damage is not None:
        run.launch.write_text(damage)
    assert engine.reconcile() == ()
    end = status_of(run, read_state(run))
    assert (end.status, end.reason_code) == ("failed", "launch")
    assert "launch.json" in end.reason
    assert "tart it again" in end.reason
    assert engine.waiting() == ()
    assert [(record.levelname, "launch.json" in record.getMessage()) for record in caplog.records] == [("WARNING", True)]


def test_reconcile_leaves_another_start_alone_when_it_removes_a_ticket(engine, tmp_path):
    run = make_run(tmp_path, status="queued", run_id="of another start")
    Tickets(OutputsPaths(tmp_path)).join(run, "id-cat", ["cpu"])
    run.launch.write_text("{")
    assert engine.reconcile() == ()
    assert engine.waiting() == ()
    assert read_state(run)["status"] == "queued"


def test_reconcile_goes_on_after_an_error_at_one_run(engine, tmp_path, monkeypatch, caplog):
    for name in ("odd", "cat"):
        Tickets(OutputsPaths(tmp_path)).join(make_run(tmp_path, name), f"id-{name}", ["cpu"])

    def drop(self, waiting, drop=WaitingRuns.drop):
        return {}[[]] if waiting.run.slug == "odd" else drop(self, waiting)

    monkeypatch.setattr(WaitingRuns, "drop", drop)
    monkeypatch.setattr(DispatcherProcess, "ensure", lambda self: 1 / 0)
    assert engine.reconcile() == ()
    assert engine.waiting() == ("odd",)
    assert "could not be continued: ZeroDivisionError: division by zero" in caplog.text


def test_a_frozen_supervisor_before_the_trainers_start_is_explained(engine, tmp_path, sleeper):
    run = make_run(tmp_path, status="queued", reason="Waiting for the CPU; it is next.")
    supervisor = wait_for(lambda: identify(sleeper.pid, "id-cat"))
    record_processes(run, "id-cat", 1, supervisor, None)
    assert status_of(run, read_state(run)).reason == "Waiting for the CPU; it is next."
    sleeper.send_signal(signal.SIGSTOP)
    wait_for(lambda: is_frozen(supervisor))
    assert status_of(run, read_state(run)).status == "queued"
    assert f"(PID {sleeper.pid}) is frozen" in status_of(run, read_state(run)).reason


def queue_without_ticket(outputs, name="cat", **spec):
    """Make a run that waited and has lost its ticket."""
    run = make_run(outputs, name, status="queued", reason="Waiting for the CPU; it is next.")
    argv = ("python", f"--output_dir={run.folder}")
    write_launch_spec(run, LaunchSpec(**{"run_id": f"id-{name}", "attempt": 1, "trainer_dir": "/", "argv": argv, "devices": CPU, **spec}))
    record_processes(run, f"id-{name}", 1, dead_process(f"id-{name}"), None)
    return run


@pytest.fixture(name="ensured")
def fixture_ensured(monkeypatch):
    """The calls that would have started a dispatcher."""
    calls = []
    monkeypatch.setattr(DispatcherProcess, "ensure", lambda self: calls.append(self))
    return calls


@pytest.mark.parametrize("damage", [None, "{", '{"slug": "cat", "run_id": "id-cat"}'])
def test_a_run_that_has_lost_its_ticket_says_so_and_joins_the_queue_again(engine, tmp_path, ensured, damage):
    run, other = queue_without_ticket(tmp_path), make_run(tmp_path, "dog", status="queued")
    write_launch_spec(other, LaunchSpec(run_id="id-dog", attempt=1, trainer_dir="/", devices=CPU))
    Tickets(OutputsPaths(tmp_path)).join(other, "id-dog", ["cpu"])
    if damage is not None:
        run.ticket.write_text(damage)
    shown = status_of(run, read_state(run))
    assert (shown.status, shown.reason) == ("queued", LOST_POSITION)
    assert "cat" in engine.reconcile()
    assert engine.waiting() == ("dog", "cat")
    assert status_of(run, read_state(run)).reason == DISPATCHER_ENDED
    assert len(ensured) == 1


def moved(run):
    run.folder.rename(run.folder.with_name("renamed"))
    return RunPaths(run.folder.with_name("renamed"))


def copied(run):
    shutil.copytree(run.folder, run.folder.with_name("copy"))
    run.ticket.parent.mkdir(parents=True, exist_ok=True)
    write_ticket(run)
    return RunPaths(run.folder.with_name("copy"))


def trained(run):
    record_processes(run, "id-cat", 1, dead_process("id-cat"), dead_process("id-cat"))
    return run


def unsigned(run):
    run.launch.write_text(run.launch.read_text().replace('"signature"', '"signature of another"'))
    return run


@pytest.mark.parametrize("change", [moved, copied, trained, unsigned])
def test_only_a_run_that_waited_here_as_it_is_joins_the_queue_again(engine, tmp_path, ensured, change):
    run = change(queue_without_ticket(tmp_path))
    assert run.slug not in engine.reconcile()
    assert not run.ticket.exists()
    shown = status_of(run, read_state(run))
    assert shown.status != "queued"
    assert ("lost its position" in shown.reason) == (change in (moved, unsigned))


@pytest.mark.parametrize("damage", [None, "{"])
def test_a_run_that_has_lost_its_ticket_is_canceled(tmp_path, damage):
    run = queue_without_ticket(tmp_path)
    if damage is not None:
        run.ticket.parent.mkdir(parents=True)
        run.ticket.write_text(damage)
    cancel_waiting(run)
    assert (status_of(run, read_state(run)).reason_code, run.ticket.exists()) == ("user", False)


def test_a_run_that_the_dispatcher_of_another_installation_leaves_alone_is_not_called_the_next(engine, tmp_path):
    run = queue_without_ticket(tmp_path)
    Tickets(OutputsPaths(tmp_path)).join(run, "id-cat", ["cpu"])
    DispatcherProcess(OutputsPaths(tmp_path)).record()
    assert engine.waiting_reasons() == {"cat": "Waiting for the CPU; it is next."}
    update_state(run, {"reason": WAITS_FOR_APP})  # as that dispatcher sees it
    assert engine.waiting_reasons() == {"cat": WAITS_FOR_APP}
    assert status_of(run, read_state(run)).reason == WAITS_FOR_APP

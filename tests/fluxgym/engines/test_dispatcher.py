"""What the dispatcher does for each waiting run; with real runs it is tested in tests/integration/test_dispatcher.py."""

import os
import signal
import subprocess
import sys
import time

import pytest

from fluxgym.engines import dispatcher
from fluxgym.engines.devices import acquire_devices
from fluxgym.engines.dispatcher import Dispatcher
from fluxgym.engines.dispatcher_process import DispatcherProcess
from fluxgym.engines.registry import status_of
from fluxgym.engines.spawn import StartedSupervisor
from fluxgym.engines.tickets import Tickets
from fluxgym.engines.waiting_runs import WaitingRuns
from fluxgym.errors import NotReadableNow, StorageError
from fluxgym.runs.launch_spec import DeviceRequest, LaunchSpec, write_launch_spec
from fluxgym.runs.locks import try_lock
from fluxgym.runs.process_identity import identify, is_frozen, local_process
from tests.support.runs import make_run, state_of, wait_for


def test_run_that_is_called_dispatcher_has_ticket_like_any_other(process, outputs):
    run = make_run(outputs.root, "dispatcher")
    Tickets(outputs).join(run, "id-dispatcher", ["cpu"])
    process.record()
    assert [ticket.slug for ticket in Tickets(outputs).all()] == ["dispatcher"]
    assert process.problem() == ""


def test_ticket_that_is_written_when_queue_has_been_found_empty_is_served(process, outputs, monkeypatch):
    """Its writer sees that the dispatcher has its lock, and starts no other one."""
    tickets, run, locks = Tickets(outputs), make_run(outputs.root), []
    tickets.join(run, "id-cat", ["cpu"])

    def work(self, has_lock):
        locks.append((has_lock(), try_lock(process.lock)))
        tickets.remove(run, "id-cat")  # nothing waits any more
        if len(locks) == 1:
            tickets.join(run, "id-cat", ["cpu"])

    monkeypatch.setattr(dispatcher.Dispatcher, "work", work)
    assert dispatcher.main([str(outputs.root)]) == 0
    assert locks == [(True, None)] * 2


@pytest.fixture(name="served")
def fixture_served(outputs, process):
    """What the dispatcher does, in this process; another thread or process may hold its lock."""
    return Dispatcher(outputs, process)


def test_dispatcher_survives_errors_while_runs_wait(served, monkeypatch, caplog):
    monkeypatch.setattr(dispatcher, "QUEUE_POLL_S", 0.0)
    results = iter([TypeError("odd"), NotReadableNow("no memory"), False])

    def serve_all(self):
        if isinstance(result := next(results), Exception):
            raise result
        return result

    monkeypatch.setattr(Dispatcher, "serve_all", serve_all)
    served.work(lambda: True)
    assert [record.getMessage() for record in caplog.records] == ["the queue: TypeError: odd", "the queue: no memory"]


def test_error_at_one_run_does_not_block_other_runs(served, outputs, monkeypatch, caplog):
    for name in ("odd", "cat"):
        Tickets(outputs).join(make_run(outputs.root, name), f"id-{name}", ["cpu"])

    def drop(self, waiting, drop=WaitingRuns.drop):
        return {}[[]] if waiting.run.slug == "odd" else drop(self, waiting)

    monkeypatch.setattr(WaitingRuns, "drop", drop)
    assert served.serve_all()
    assert [ticket.slug for ticket in Tickets(outputs).all()] == ["odd"]  # cat has no launch.json
    assert "odd: TypeError: unhashable type: 'list'" in [record.getMessage() for record in caplog.records]


@pytest.fixture(name="waits")
def fixture_waits(outputs):
    """A run that waits for the CPU, which is free."""
    run = make_run(outputs.root, status="queued")
    write_launch_spec(run, LaunchSpec(run_id="id-cat", attempt=1, trainer_dir="/", devices=DeviceRequest(kind="cpu")))
    Tickets(outputs).join(run, "id-cat", ["cpu"])
    return run


@pytest.fixture(name="programs")
def fixture_programs(monkeypatch):
    """The supervisors that were started, each of which executes this list's code instead."""

    def start(run, mode, *, environment):
        process = subprocess.Popen([sys.executable, "-c", started.code])
        if started.ends:
            process.wait()
        size = run.monitor_log.stat().st_size if run.monitor_log.exists() else 0
        started.append(
            StartedSupervisor(run=run, process=process, identity=local_process(process.pid), log_size=size, started_at=time.monotonic())
        )
        return started[-1]

    class Started(list):
        code, ends = "", True

    started = Started()
    monkeypatch.setattr(dispatcher, "start_supervisor", start)
    yield started
    for supervisor in started:
        supervisor.process.kill()
        supervisor.process.wait()


@pytest.fixture(name="clock")
def fixture_clock(monkeypatch):
    """The time that the dispatcher sees, in a list of one number."""
    now = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


def test_supervisor_that_ends_early_is_restarted_with_exponential_backoff(served, waits, programs, clock):
    starts = []
    for _ in range(200):
        served.serve_all()
        clock[0] += 1.0
        starts.append(len(programs))
    assert [starts[1], starts[9], starts[199]] == [1, 3, 9]  # and not 2, 10, 200
    assert "ended with code 0 and wrote nothing into its log" in state_of(waits)["reason"]
    lease = acquire_devices(DeviceRequest(kind="cpu"), waits.folder.with_name("dog"))
    served.serve_all()
    assert state_of(waits)["reason"] == "Waiting for the CPU, which “dog” uses; it is next."
    lease.release()
    served.serve_all()
    assert len(programs) == 10  # at once: it was the other run that kept it waiting


def test_problem_of_run_on_full_disk_is_still_shown(served, process, waits, programs, clock, monkeypatch):
    def update(run, changes, *, expected):
        raise StorageError("The disk is full: ui_state.json could not be written.")

    process.record()
    monkeypatch.setattr(dispatcher, "update_state", update)
    served.serve_all()
    served.serve_all()
    assert process.problem() == ""
    assert "reports: The disk is full: ui_state.json could not be written." in process.problem("cat")
    assert "The disk is full" in status_of(waits, state_of(waits)).reason
    lease = acquire_devices(DeviceRequest(kind="cpu"), waits.folder.with_name("dog"))
    monkeypatch.undo()
    served.serve_all()
    assert process.problem("cat") == ""
    lease.release()


def test_frozen_supervisor_of_next_run_is_killed_and_queue_continues(served, waits, programs, clock):
    programs.code, programs.ends = "import time; time.sleep(60)", False
    served.serve_all()
    (started,) = programs
    os.kill(started.process.pid, signal.SIGSTOP)
    wait_for(lambda: is_frozen(identify(started.process.pid, "")))
    clock[0] += 29.0
    served.serve_all()
    assert state_of(waits)["status"] == "queued"
    clock[0] += 2.0
    served.serve_all()
    assert started.process.wait(10) == -signal.SIGKILL
    end = state_of(waits)
    assert (end["status"], end["reason_code"], waits.ticket.exists()) == ("failed", "launch", False)
    assert f"its supervisor (PID {started.process.pid}) was frozen for 30 seconds" in end["reason"]


def test_full_lock_folder_stops_neither_start_nor_dispatcher(process, outputs, served, waits, monkeypatch, caplog):
    def record(self, problems=None):
        raise StorageError("The disk is full: locks/dispatcher.json could not be written.")

    lease = acquire_devices(DeviceRequest(kind="cpu"), outputs.root / "dog")
    monkeypatch.setattr(DispatcherProcess, "record", record)
    with try_lock(process.lock):
        process.show_life()
        assert served.serve_all()
    lease.release()
    assert {record.getMessage().partition("The disk")[2] for record in caplog.records} == {
        " is full: locks/dispatcher.json could not be written."
    }
    assert state_of(waits)["reason"].startswith("Waiting for the CPU, which “dog” uses")

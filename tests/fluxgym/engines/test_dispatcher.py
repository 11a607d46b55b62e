"""The dispatcher as other processes see it; with real processes it is tested in tests/integration/test_dispatcher.py."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from fluxgym.engines import dispatcher
from fluxgym.engines.tickets import Tickets
from fluxgym.engines.devices import acquire_devices
from fluxgym.engines.dispatcher import Dispatcher
from fluxgym.engines.dispatcher_process import DISPATCHER_ENDED, DispatcherProcess
from fluxgym.engines.registry import status_of
from fluxgym.engines.spawn import StartedSupervisor
from fluxgym.engines.waiting_runs import WaitingRuns
from fluxgym.errors import LaunchError, NotReadableNow, StorageError
from fluxgym.runs.detached import PROJECT
from fluxgym.runs.launch_spec import DeviceRequest, LaunchSpec, write_launch_spec
from fluxgym.runs.locks import try_lock
from fluxgym.runs.paths import OutputsPaths
from fluxgym.runs.process_identity import identify, is_frozen, local_process
from tests.support.runs import make_run, state_of, wait_for


@pytest.fixture(name="outputs")
def fixture_outputs(tmp_path):
    outputs = OutputsPaths(tmp_path / "outputs")
    outputs.queue.mkdir(parents=True)
    return outputs


@pytest.fixture(name="process")
def fixture_process(outputs):
    return DispatcherProcess(outputs)


def test_an_unknown_dispatcher_has_ended_and_this_process_is_recorded(process):
    assert process.problem() == DISPATCHER_ENDED
    process.record()
    assert process.problem() == ""


def test_a_removed_identity_is_written_again(process):
    process.record()
    process.lock.with_suffix(".json").unlink()
    process.renew()
    assert process.problem() == ""


def test_each_outputs_folder_has_its_own_dispatcher_by_whatever_path_it_is_named(process, outputs, tmp_path):
    (tmp_path / "link").symlink_to(outputs.root)
    assert DispatcherProcess(OutputsPaths(tmp_path / "link")).lock == process.lock
    other = DispatcherProcess(OutputsPaths(tmp_path / "other"))
    assert other.lock != process.lock
    assert not process.other_queues()
    other.record()
    assert (process.other_queues(), other.other_queues()) == (True, False)


def test_a_frozen_dispatcher_is_named_and_resumed(process):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    lock = try_lock(process.lock)
    try:
        identity = wait_for(lambda: identify(child.pid, ""))
        process.lock.with_suffix(".json").write_text(json.dumps({"process": identity.to_json()}))
        assert process.problem() == ""
        child.send_signal(signal.SIGSTOP)
        wait_for(lambda: f"(PID {child.pid}) is frozen" in process.problem())
        process.ensure()
        wait_for(lambda: process.problem() == "")
    finally:
        lock.close()
        child.kill()
        child.wait()


def test_a_dispatcher_without_tickets_ends_at_once(process, outputs):
    process.ensure()
    assert process.problem() == DISPATCHER_ENDED
    assert dispatcher.main([str(outputs.root)]) == 0


def test_a_dispatcher_that_cannot_start_is_an_error_with_the_end_of_its_log(process, outputs, monkeypatch):
    monkeypatch.setattr(dispatcher, "MODULE", "fluxgym.no_such_module")
    with pytest.raises(LaunchError, match=r"could not be started: .*no_such_module"):
        process.ensure()


def test_a_log_that_is_a_link_is_not_followed(process, outputs, tmp_path):
    (outputs.queue / "dispatcher.log").symlink_to(tmp_path / "precious")
    with pytest.raises(StorageError, match=r"dispatcher\.log cannot be used: it is a link"):
        process.ensure()
    assert not (tmp_path / "precious").exists()


def test_a_run_that_is_called_dispatcher_has_a_ticket_like_any_other(process, outputs):
    run = make_run(outputs.root, "dispatcher")
    Tickets(outputs).join(run, "id-dispatcher", ["cpu"])
    process.record()
    assert [ticket.slug for ticket in Tickets(outputs).all()] == ["dispatcher"]
    assert process.problem() == ""


def test_a_ticket_that_is_written_when_the_queue_has_been_found_empty_is_served(process, outputs, monkeypatch):
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


def test_no_error_ends_the_dispatcher_while_runs_wait(served, monkeypatch, caplog):
    monkeypatch.setattr(dispatcher, "QUEUE_POLL_S", 0.0)
    results = iter([TypeError("odd"), NotReadableNow("no memory"), False])

    def serve_all(self):
        if isinstance(result := next(results), Exception):
            raise result
        return result

    monkeypatch.setattr(Dispatcher, "serve_all", serve_all)
    served.work(lambda: True)
    assert [record.getMessage() for record in caplog.records] == ["the queue: TypeError: odd", "the queue: no memory"]


def test_an_error_at_one_run_does_not_keep_the_dispatcher_from_the_others(served, outputs, monkeypatch, caplog):
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


def test_supervisors_that_end_while_the_run_waits_and_its_device_is_free_are_started_less_and_less_often(served, waits, programs, clock):
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


def test_a_problem_that_the_run_s_own_disk_cannot_hold_is_shown_all_the_same(served, process, waits, programs, clock, monkeypatch):
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


def test_a_frozen_supervisor_of_the_next_run_is_ended_so_that_the_queue_goes_on(served, waits, programs, clock):
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


FROZEN_AT_BIRTH = """
import os, signal, sys
from pathlib import Path
from fluxgym.runs.detached import PROJECT
from fluxgym.runs.locks import try_lock
lock = try_lock(Path(sys.argv[1]))
os.kill(os.getpid(), signal.SIGSTOP)
{after}
"""


@pytest.fixture(name="newborn")
def fixture_newborn(process):
    """Return a function that starts a dispatcher that takes the lock and is frozen before it records itself; then it executes code."""
    children = []

    def start(after):
        code = FROZEN_AT_BIRTH.format(after=after)
        child = subprocess.Popen([sys.executable, "-c", code, str(process.lock), dispatcher.MODULE], cwd=PROJECT)
        children.append(child)
        wait_for(lambda: (known := identify(child.pid, "")) and is_frozen(known))
        os.utime(process.lock, (1000.0, 1000.0))
        return child

    yield start
    for child in children:
        child.kill()
        child.wait()


def test_a_dispatcher_that_was_frozen_before_it_recorded_itself_is_named_and_resumed(process, outputs, newborn):
    child = newborn(
        "import time; from fluxgym.engines.dispatcher import DispatcherProcess; from fluxgym.runs.paths import OutputsPaths\n"
        f"DispatcherProcess(OutputsPaths(Path({str(outputs.root)!r}))).record(); time.sleep(60)"
    )
    assert f"(PID {child.pid}) is frozen" in process.problem()
    process.ensure()
    assert process.problem() == ""


def test_a_dispatcher_that_does_not_answer_when_it_is_resumed_is_replaced(process, outputs, newborn, monkeypatch):
    child = newborn("import time; time.sleep(60)")
    monkeypatch.setattr(dispatcher, "START_TIMEOUT_S", 2.0)
    process.ensure()
    assert child.wait(10) == -signal.SIGKILL
    assert process.problem() == DISPATCHER_ENDED  # nothing waits


def test_a_dispatcher_whose_identity_was_removed_is_found_by_its_lock(process, newborn):
    newborn("import time; time.sleep(60)").send_signal(signal.SIGCONT)
    wait_for(lambda: process.problem() == "")
    os.utime(process.lock)  # as it does regularly
    process.ensure()


def test_a_dispatcher_that_is_frozen_at_its_start_is_killed_when_its_time_is_over(process, outputs, monkeypatch, tmp_path):
    monkeypatch.setattr(dispatcher, "START_TIMEOUT_S", 1.0)
    monkeypatch.setattr(dispatcher, "MODULE", "frozen_at_birth")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "frozen_at_birth.py").write_text(
        FROZEN_AT_BIRTH.format(after="").replace("Path(sys.argv[1])", f"Path({str(process.lock)!r})")
    )
    with pytest.raises(LaunchError, match="it did not answer"):
        process.ensure()
    wait_for(lambda: (lock := try_lock(process.lock)) is not None and lock.close() is None)


def test_a_lock_whose_holder_cannot_be_seen_is_named(process, monkeypatch):
    monkeypatch.setattr(dispatcher, "START_TIMEOUT_S", 0.2)
    with try_lock(process.lock), pytest.raises(LaunchError, match=r"cannot be seen from here holds .*\.lock"):
        process.ensure()


def test_a_full_folder_of_locks_ends_neither_the_start_nor_the_work(process, outputs, served, waits, monkeypatch, caplog):
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

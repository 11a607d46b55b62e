"""The dispatcher with real processes: one for all waiting runs, replaced when it died, not needed to cancel, and ended with the queue."""

import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import psutil
import pytest

from fluxgym.app_settings import Settings
from fluxgym.contract.codes import Status
from fluxgym.engines import dispatcher
from fluxgym.engines.dispatcher_process import DISPATCHER_ENDED
from fluxgym.engines.registry import engine_of, is_executing
from fluxgym.runs.detached import PROJECT
from fluxgym.runs.exit_record import read_exit
from fluxgym.runs.launch_spec import write_stop_request
from fluxgym.runs.process_identity import identify, is_alive, read_record
from fluxgym.runs.state import read_state
from fluxgym.sessions.control import stop, wait_until_ended
from fluxgym.sessions.waiting import restart_waiting
from tests.support.queue_line import Line
from tests.support.runs import record_processes, wait_for


@pytest.fixture(name="line")
def fixture_line(tmp_path):
    line = Line(tmp_path / "outputs")
    yield line
    line.end()


@pytest.fixture(name="first")
def fixture_first(line):
    """A run that uses the CPU."""
    run = line.start("first")
    line.wait_for(run, Status.RUNNING)
    return run


def restart(line):
    """Do what an app does when it starts, and every 30 s."""
    return restart_waiting(Settings(outputs=line.outputs.root))


def test_20_waiting_runs_have_one_process_and_train_one_at_time_in_their_order(line, first):
    names = [f"run-{number:02d}" for number in range(20)]
    runs = line.start_waiting(*names)
    assert line.supervisors() == [read_record(first).supervisor.pid]
    (pid,) = line.dispatchers()
    assert psutil.Process(pid).memory_info().rss < 30 << 20
    assert line.names() == names
    assert not any(run.monitor_pid.exists() for run in runs)
    line.release(first, *runs[:5])
    assert [wait_until_ended(run).status for run in runs[:5]] == ["completed"] * 5
    line.wait_for(runs[5], Status.RUNNING)
    assert [line.status(run) for run in runs[6:]] == [Status.QUEUED] * 14
    assert line.order() == ["first", *names[:5]]
    for run in reversed(runs[6:]):
        stop(run)
    assert line.names() == []
    wait_for(lambda: line.dispatchers() == [])
    assert line.status(runs[5]) is Status.RUNNING


def test_dispatcher_ends_with_queue_and_leaves_what_runs(line, first):
    (second,) = line.start_waiting("second")
    line.release(first)
    line.wait_for(second, Status.RUNNING)
    wait_for(lambda: line.dispatchers() == [])
    assert is_alive(read_record(second).supervisor)
    line.release(second)
    assert wait_until_ended(second).status is Status.COMPLETED


def test_free_device_needs_no_dispatcher(line):
    run = line.start("first")
    line.release(run)
    assert wait_until_ended(run).status is Status.COMPLETED
    assert not line.dispatcher.lock.exists()


def restart_by_app(line):
    assert restart(line) == ("second", "third")


def restart_by_a_start(line):
    line.start("fourth")
    wait_for(lambda: not line.dispatcher.problem())


@pytest.mark.parametrize("revive", [restart_by_app, restart_by_a_start])
def test_killed_dispatcher_is_replaced_and_queue_continues(line, first, revive):
    second, third = line.start_waiting("second", "third")
    killed = line.signal_dispatcher(signal.SIGKILL)
    assert (line.status(second), line.reason(second)) == (Status.QUEUED, DISPATCHER_ENDED)
    assert set(line.engine.queue.reasons().values()) == {DISPATCHER_ENDED}
    assert line.engine.queue.abandoned() == ("second", "third")
    revive(line)
    assert restart(line) == ()
    assert len(line.dispatchers()) == 1
    assert line.dispatchers() != [killed]
    wait_for(lambda: line.reason(second).endswith("; it is next."))
    line.release(first, second, third)
    assert wait_until_ended(third).status is Status.COMPLETED
    assert line.order()[:3] == ["first", "second", "third"]


def test_waiting_run_is_executing_until_it_has_ended(line, first):
    (second,) = line.start_waiting("second")
    assert is_executing(second)
    with ThreadPoolExecutor(1) as pool:
        ended = pool.submit(wait_until_ended, second)
        line.release(first, second)
        assert ended.result().status is Status.COMPLETED


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
def test_waiting_run_is_canceled_without_help_of_dispatcher(line, first, number):
    second, third = line.start_waiting("second", "third")
    pid = line.signal_dispatcher(number)
    assert line.reason(second).startswith("It keeps its position in the queue, but the process that starts waiting runs ")
    assert (f"(PID {pid}) is frozen" in line.reason(second)) == (number == signal.SIGSTOP)
    stop(second)
    ended = wait_until_ended(second)
    assert (ended.status, ended.reason_code, ended.reason) == (Status.STOPPED, "user", "Canceled by you before it started.")
    assert read_exit(second).status == "stopped"
    assert line.names() == ["third"]
    line.release(first, third)
    restart(line)
    assert wait_until_ended(third).status is Status.COMPLETED


def test_frozen_dispatcher_is_resumed_by_start(line, first):
    (second,) = line.start_waiting("second")
    line.signal_dispatcher(signal.SIGSTOP)
    third = line.start("third")
    wait_for(lambda: line.dispatcher.problem() == "")
    line.release(first, second, third)
    assert wait_until_ended(third).status is Status.COMPLETED


def test_stop_request_of_another_host_ends_waiting_run(line, first):
    (second,) = line.start_waiting("second")
    write_stop_request(second, "id-second", 1, 5.0)
    assert wait_until_ended(second).reason_code == "user"
    assert line.names() == []


def test_run_that_is_canceled_while_its_supervisor_starts_stays_canceled(line, first):
    """The supervisor that the dispatcher started a moment before finds the request, and neither trains nor joins the queue again."""
    (second,) = line.start_waiting("second")
    line.signal_dispatcher(signal.SIGKILL)
    stop(second)
    supervisor = psutil.Popen([*psutil.Process(read_record(first).supervisor.pid).cmdline()[:3], str(second.folder)])
    assert supervisor.wait(30) == 0
    assert line.status(second) is Status.STOPPED
    assert line.names() == []
    assert not second.training_log.exists()


def test_supervisor_that_cannot_start_ends_wait_with_reason_and_blocks_no_other(line, first):
    second, third = line.start_waiting("second", "third")
    second.lease.unlink()
    second.lease.mkdir()
    (second.lease / "x").touch()
    line.release(first, third)
    assert wait_until_ended(third).status is Status.COMPLETED
    ended = wait_until_ended(second)
    assert (ended.status, ended.reason_code) == (Status.FAILED, "launch")
    assert ended.reason.startswith("It waited in the queue, and then its supervisor did not start: ")
    assert "lease.json" in ended.reason


def test_many_starts_at_once_start_one_dispatcher_and_lose_no_run(line, first):
    with ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(line.start, [f"run-{number}" for number in range(8)]))
    wait_for(lambda: all(not is_alive(read_record(run).supervisor) for run in runs))
    assert len(line.dispatchers()) == 1
    assert sorted(line.names()) == sorted(run.slug for run in runs)
    line.release(first, *runs)
    assert [wait_until_ended(run).status for run in runs] == [Status.COMPLETED] * 8


def test_runs_that_join_while_dispatcher_ends_are_started(line):
    """Each queue is empty for a moment before the next run joins, so that the dispatcher ends or sees the ticket just then."""
    for number in range(6):
        one, other = line.start(f"one-{number}"), line.start(f"other-{number}")
        line.release(one, other)
        wait_for(lambda one=one: not is_executing(one))
        time.sleep(0.2 * number)  # the moment is what differs
        assert wait_until_ended(other).status is Status.COMPLETED
    wait_for(lambda: line.dispatchers() == [])


def test_two_dispatchers_do_not_serve_one_queue(line, first):
    line.start_waiting("second")
    assert dispatcher.main([str(line.outputs.root)]) == 0
    assert len(line.dispatchers()) == 1


def test_dispatcher_whose_lock_was_removed_locks_it_again(line, first):
    (second,) = line.start_waiting("second")
    before = line.dispatchers()
    line.dispatcher.lock.unlink()
    wait_for(line.dispatcher.lock.exists)
    assert line.dispatchers() == before
    line.release(first, second)
    assert wait_until_ended(second).status is Status.COMPLETED


OLD_WAITER = """
import sys, time
from pathlib import Path
from fluxgym.engines.devices import acquire_devices
from fluxgym.runs.launch_spec import DeviceRequest
from fluxgym.runs.paths import RunPaths
run = RunPaths(Path(sys.argv[1]))
while (lease := acquire_devices(DeviceRequest(kind="cpu"), run.folder)) is None: time.sleep(0.1)
run.ticket.unlink()
(run.folder / "acquired").touch()
time.sleep(60)
"""


def test_supervisor_of_earlier_version_that_waits_itself_is_ahead_and_is_not_started_again(line, first, tmp_path):
    old, second = line.start_waiting("old", "second")
    waiter = psutil.Popen([sys.executable, "-c", OLD_WAITER, str(old.folder)], cwd=PROJECT)
    try:
        record_processes(old, "id-old", 1, wait_for(lambda: identify(waiter.pid, "id-old")), None)
        wait_for(lambda: "“old” is ahead of it" in line.reason(second))
        line.release(first)
        wait_for((old.folder / "acquired").exists)
        wait_for(lambda: line.reason(second) == "Waiting for the CPU, which “old” uses; it is next.")
        assert line.supervisors() == []
    finally:
        waiter.kill()
        waiter.wait()
    line.wait_for(second, Status.RUNNING)
    line.release(second)
    assert wait_until_ended(second).status is Status.COMPLETED


def test_another_outputs_folder_is_served_by_its_own_dispatcher_and_named(line, first, tmp_path):
    other = Line(tmp_path / "other")
    try:
        (second,) = line.start_waiting("second")
        (third,) = other.start_waiting("third")
        assert other.reason(third).endswith(
            "which “first” of another outputs folder uses; it is next, but runs of another outputs folder wait too."
        )
        wait_for(lambda: line.reason(second).endswith("it is next, but runs of another outputs folder wait too."))
        line.release(first, second)
        other.release(third)
        assert {wait_until_ended(run).status for run in (second, third)} == {Status.COMPLETED}
    finally:
        other.end()


def test_waiting_run_is_not_started_while_another_host_keeps_it(line, first):
    (second,) = line.start_waiting("second")
    here = read_record(second).supervisor
    record_processes(second, "id-second", 1, replace(here, boot_id="another", host="pod"), None)
    os.utime(second.lease)
    assert line.reason(second) == "It waits on another machine, pod."
    line.release(first, second)
    wait_until_ended(first)
    time.sleep(2.5)  # two looks of the dispatcher
    assert line.status(second) is Status.QUEUED
    for path in (second.lease, second.monitor_log):
        os.utime(path, (time.time() - 300,) * 2)
    assert wait_until_ended(second).status is Status.COMPLETED


def test_dispatcher_shows_heartbeat_in_folders_of_waiting_runs(line, first):
    (second,) = line.start_waiting("second")
    os.utime(second.lease, (time.time() - 300,) * 2)
    wait_for(lambda: time.time() - second.lease.stat().st_mtime < 60, 20)
    assert engine_of(second).queue.slugs() == ("second",)
    assert read_state(second)["status"] == "queued"

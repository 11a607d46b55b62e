"""Real runs in the queue for one device: in order, through moves and vanished folders, and without a process while they wait."""

import json
import os
import shutil
import signal
import time

import pytest

from fluxgym.contract.codes import Status
from fluxgym.errors import SessionError
from fluxgym.runs.exit_record import read_exit
from fluxgym.runs.process_identity import PROC, is_alive, read_record
from fluxgym.runs.state import read_state, update_state
from fluxgym.runs.ticket import read_ticket
from fluxgym.sessions.control import request_stop, wait_until_ended
from tests.support.queue_line import Line
from tests.support.runs import launch_buggy, make_run, wait_for


@pytest.fixture(name="line")
def fixture_line(tmp_path):
    line = Line(tmp_path / "outputs")
    yield line
    line.end()


def kill_supervisor(run):
    record = read_record(run)
    os.kill(record.supervisor.pid, signal.SIGKILL)
    wait_for(lambda: not is_alive(record.supervisor))
    return record


def test_queued_runs_start_in_order_and_name_what_they_wait_for(line):
    first = line.start("first")
    line.wait_for(first, Status.RUNNING)
    second, third = line.start_waiting("second", "third")
    update_state(second, {"lora_name": "My Second"})
    (fourth,) = line.start_waiting("fourth")
    assert line.reason(second) == "Waiting for the CPU, which “first” uses; it is next."
    wait_for(lambda: line.reason(third) == "Waiting for the CPU, which “first” uses; “My Second” is ahead of it.")
    assert line.reason(fourth) == "Waiting for the CPU, which “first” uses; “My Second” and 1 more run are ahead of it."
    assert line.engine.queue.reasons() == {run.slug: line.reason(run) for run in (second, third, fourth)}
    line.release(first, second, third, fourth)
    assert [wait_until_ended(run).status for run in (first, second, third, fourth)] == ["completed"] * 4
    assert line.order() == ["first", "second", "third", "fourth"]
    assert line.names() == []
    assert "reason" not in read_state(third)


def test_queued_run_does_not_wait_for_other_devices(line):
    first, second = line.start("first", ["gpu-0"]), line.start("second", ["gpu-1"])
    line.wait_for(second, Status.RUNNING)
    both = line.start("both", ["gpu-0", "gpu-1"])
    line.wait_for(both, Status.QUEUED)
    assert "GPU 0 and GPU 1, which “first” and “second” use" in line.reason(both)
    line.release(first)
    wait_until_ended(first)
    assert line.status(both) is Status.QUEUED
    line.release(second, both)
    assert wait_until_ended(both).status == "completed"


def test_queued_run_for_any_gpu_takes_first_free_one(line):
    both = ["gpu-0", "gpu-1"]
    runs = {name: line.start(name, both, any_free=True) for name in ("a", "b")}
    for run in runs.values():
        line.wait_for(run, Status.RUNNING)
    assert {seen(run) for run in runs.values()} == {"0", "1"}
    late = line.start("late", both, any_free=True)
    line.wait_for(late, Status.QUEUED)
    assert "Waiting for GPU 0 or GPU 1, which “a” and “b” use; it is next." in line.reason(late)
    named = line.start("named", ["gpu-0"])
    line.wait_for(named, Status.QUEUED)
    on_1 = next(run for run in runs.values() if seen(run) == "1")
    line.release(on_1)
    line.wait_for(late, Status.RUNNING)
    assert seen(late) == "1"
    line.release(late, named, *(run for run in runs.values() if run != on_1))
    assert wait_until_ended(named).status == "completed"


def test_run_for_any_gpu_passes_run_that_waits_for_used_one(line):
    first = line.start("first", ["gpu-0"])
    line.wait_for(first, Status.RUNNING)
    named = line.start("named", ["gpu-0"])
    line.wait_for(named, Status.QUEUED)
    other = line.start("other", ["gpu-0", "gpu-1"], any_free=True)
    line.wait_for(other, Status.RUNNING)
    assert seen(other) == "1"
    line.release(first, named, other)
    wait_until_ended(named)


@pytest.mark.parametrize(("devices", "visible"), [(["gpu-1"], "1"), (["cpu"], None)])
def test_queued_run_sees_its_own_device_whatever_one_that_starts_it_sees(line, monkeypatch, devices, visible):
    first = line.start("first", devices)
    line.wait_for(first, Status.RUNNING)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")  # of the app that starts the dispatcher
    second = line.start("second", devices, any_free=True)
    line.wait_for(second, Status.QUEUED)
    line.release(first)
    line.wait_for(second, Status.RUNNING)
    assert seen(second) == visible
    line.release(second)
    wait_until_ended(second)


def seen(run):
    """Return which GPU a run's trainer is shown, None if it may use all."""
    words = wait_for(lambda: (PROC / str(read_record(run).trainer.pid) / "environ").read_bytes()).split(b"\0")
    return next((word.decode().partition("=")[2] for word in words if word.startswith(b"CUDA_VISIBLE_DEVICES=")), None)


def test_queue_can_be_reordered_and_left(line):
    first = line.start("first")
    line.wait_for(first, Status.RUNNING)
    a, b, c = line.start_waiting("a", "b", "c")
    line.engine.queue.move(c, 1)
    assert line.names() == ["c", "a", "b"]
    wait_for(lambda: line.reason(c).endswith("; it is next."))
    with pytest.raises(SessionError, match="first does not wait"):
        line.engine.queue.move(first, 1)
    assert request_stop(a)
    ended = wait_until_ended(a)
    assert (ended.status, ended.reason_code, ended.reason) == ("stopped", "user", "Canceled by you before it started.")
    assert (read_exit(a).reason, line.names()) == (ended.reason, ["c", "b"])
    line.release(first, a, b, c)
    for run in (b, c):
        assert wait_until_ended(run).status == "completed"
    assert line.order() == ["first", "c", "b"]


def move_away(run):
    run.folder.rename(run.folder.with_name("moved"))


@pytest.mark.parametrize("vanish", [lambda run: shutil.rmtree(run.folder), move_away], ids=["removed", "moved"])
def test_queued_run_whose_folder_vanishes_leaves_queue_and_recreates_nothing(line, vanish):
    first = line.start("first")
    line.wait_for(first, Status.RUNNING)
    (second,) = line.start_waiting("second")
    vanish(second)
    wait_for(lambda: line.names() == [], 10)
    assert not second.folder.exists()
    moved = line.outputs.run("moved")
    assert not moved.training_log.exists()
    assert not moved.exit.exists()
    line.release(first)
    wait_until_ended(first)


def test_new_run_with_name_of_vanished_one_keeps_its_own_ticket(line):
    first = line.start("first")
    line.wait_for(first, Status.RUNNING)
    (second,) = line.start_waiting("second")
    move_away(second)
    again = line.start("second", run_id="id-of-another-start")
    line.wait_for(again, Status.QUEUED)
    assert read_ticket(again).run_id == "id-of-another-start"
    line.release(first, again)
    assert wait_until_ended(again).status == "completed"


VANISH = """
import shutil
from fluxgym.engines.local_queue import LocalQueue
acquire = LocalQueue.acquire
def vanishing(self, run, *rest, **more):
    lease = acquire(self, run, *rest, **more)
    shutil.rmtree(run.folder)
    return lease
LocalQueue.acquire = vanishing
"""


def test_run_whose_folder_vanishes_just_before_its_trainer_starts_is_not_recreated(tmp_path):
    run = make_run(tmp_path / "outputs")
    process = launch_buggy(run, f"open({str(tmp_path / 'started')!r}, 'w')", VANISH)
    assert process.wait(timeout=30) == 0
    assert not run.folder.exists()
    assert not (tmp_path / "started").exists()


def test_device_stays_locked_while_trainer_outlives_its_supervisor(line):
    first = line.start("first")
    record = wait_for(lambda: (found := read_record(first)) and found.trainer and found)
    kill_supervisor(first)
    (second,) = line.start_waiting("second")
    time.sleep(2.5)  # two looks of the dispatcher: what must not happen has no condition to wait for
    assert line.status(second) is Status.QUEUED
    os.kill(record.trainer.pid, signal.SIGKILL)
    line.wait_for(second, Status.RUNNING)
    line.release(second)
    wait_until_ended(second)


def test_damaged_tickets_are_ignored(line):
    first = line.start("first")
    line.wait_for(first, Status.RUNNING)
    (line.outputs.queue / "damaged.json").write_text('{"slug": 1')
    (line.outputs.queue / "other.json").write_text(json.dumps({"slug": "../x", "run_id": "x", "place": 0, "since": 0, "devices": ["cpu"]}))
    assert line.names() == []
    line.release(first)
    wait_until_ended(first)

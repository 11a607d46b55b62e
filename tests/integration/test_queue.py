"""Real supervisors in the queue for one device: in order, through deaths and moves, and without a queue process."""

import json
import os
import shutil
import signal
import sys
import time

import pytest

from fluxgym.contract.codes import Status
from fluxgym.engines import local
from fluxgym.engines.device_queue import Queue
from fluxgym.engines.registry import engine_for, engine_of, status_of
from fluxgym.errors import SessionError
from fluxgym.runs.launch_spec import DeviceRequest, LaunchSpec, read_launch_spec, write_launch_spec
from fluxgym.runs.paths import OutputsPaths
from fluxgym.runs.process_identity import PROC, is_alive, read_record
from fluxgym.runs.state import read_state
from fluxgym.sessions.control import request_stop, wait_until_ended
from tests.support.runs import PRELUDE, launch_broken, make_run, wait_for

HOLD = "while os.path.exists(f'{folder}/hold'): time.sleep(0.02)\nopen(f'{folder}/../order', 'a').write(name + ' ')\nprogress(4); lora()"


class Line:
    """Runs in one outputs folder, each holding the device until it is released."""

    def __init__(self, outputs):
        self.outputs = OutputsPaths(outputs)
        self.queue, self.engine = Queue(self.outputs), engine_for(self.outputs)

    def start(self, name, devices=("cpu",), *, any_free=False, run_id="", **more):
        run_id = run_id or f"id-{name}"
        run = make_run(self.outputs.root, name, run_id=run_id)
        (run.folder / "hold").touch()
        argv = [sys.executable, "-c", PRELUDE + HOLD, str(run.folder), name]
        request = DeviceRequest.from_names(devices, any_free=any_free)
        order = LaunchSpec(
            run_id=run_id, attempt=1, argv=tuple(argv), trainer_dir=str(run.folder), expected_steps=4, devices=request, **more
        )
        write_launch_spec(run, order)
        engine_of(run).submit(run, order)
        return run

    def is_(self, run, status):
        return status_of(run, read_state(run)).status is status

    def wait_for(self, run, status):
        wait_for(lambda: self.is_(run, status))

    def release(self, *runs):
        for run in runs:
            (run.folder / "hold").unlink()

    def order(self):
        return (self.outputs.root / "order").read_text().split()

    def names(self):
        return [ticket.slug for ticket in self.queue.tickets()]


@pytest.fixture(name="line")
def fixture_line(tmp_path):
    line = Line(tmp_path / "outputs")
    yield line
    for run in line.outputs.runs():
        if request_stop(run, now=True):
            wait_until_ended(run)


def kill_supervisor(run):
    record = read_record(run)
    os.kill(record.supervisor.pid, signal.SIGKILL)
    wait_for(lambda: not is_alive(record.supervisor))
    return record


def test_queued_runs_start_in_order_and_name_what_they_wait_for(line):
    first = line.start("first")
    line.wait_for(first, Status.RUNNING)
    second, third = line.start("second"), line.start("third")
    line.wait_for(second, Status.QUEUED)
    line.wait_for(third, Status.QUEUED)
    wait_for(lambda: "ahead of it: second." in read_state(third)["reason"])
    fourth = line.start("fourth")
    line.wait_for(fourth, Status.QUEUED)
    assert "ahead of it: second and 1 more." in read_state(fourth)["reason"]
    assert read_state(second)["reason"] == "Waiting for the CPU, which “first” uses; it is first in this queue."
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
    assert "GPU 0 and GPU 1, which “first” and “second” use" in read_state(both)["reason"]
    line.release(first)
    wait_until_ended(first)
    assert line.is_(both, Status.QUEUED)
    line.release(second, both)
    assert wait_until_ended(both).status == "completed"


def test_queued_run_for_any_gpu_takes_the_first_free_one(line):
    both = ["gpu-0", "gpu-1"]
    runs = {name: line.start(name, both, any_free=True) for name in ("a", "b")}
    for run in runs.values():
        line.wait_for(run, Status.RUNNING)
    assert {seen(run) for run in runs.values()} == {"0", "1"}
    late = line.start("late", both, any_free=True)
    line.wait_for(late, Status.QUEUED)
    assert "Waiting for GPU 0 or GPU 1, which “a” and “b” use; it is first in this queue." in read_state(late)["reason"]
    named = line.start("named", ["gpu-0"])
    line.wait_for(named, Status.QUEUED)
    on_1 = next(run for run in runs.values() if seen(run) == "1")
    line.release(on_1)
    line.wait_for(late, Status.RUNNING)
    assert seen(late) == "1"
    line.release(late, named, *(run for run in runs.values() if run != on_1))
    assert wait_until_ended(named).status == "completed"


def test_run_for_any_gpu_passes_a_run_that_waits_for_a_used_one(line):
    first = line.start("first", ["gpu-0"])
    line.wait_for(first, Status.RUNNING)
    named = line.start("named", ["gpu-0"])
    line.wait_for(named, Status.QUEUED)
    other = line.start("other", ["gpu-0", "gpu-1"], any_free=True)
    line.wait_for(other, Status.RUNNING)
    assert seen(other) == "1"
    line.release(first, named, other)
    wait_until_ended(named)


def seen(run):
    """Return which GPU a run's trainer is shown."""
    words = wait_for(lambda: (PROC / str(read_record(run).trainer.pid) / "environ").read_bytes()).split(b"\0")
    return next(word.decode().partition("=")[2] for word in words if word.startswith(b"CUDA_VISIBLE_DEVICES="))


def test_queue_can_be_reordered_and_left(line):
    first = line.start("first")
    line.wait_for(first, Status.RUNNING)
    runs = {name: line.start(name) for name in ("a", "b", "c")}
    for run in runs.values():
        line.wait_for(run, Status.QUEUED)
    line.engine.move(runs["c"], 1)
    assert line.names() == ["c", "a", "b"]
    with pytest.raises(SessionError, match="first does not wait"):
        line.engine.move(first, 1)
    assert request_stop(runs["a"])
    ended = wait_until_ended(runs["a"])
    assert (ended.status, ended.reason_code, ended.reason) == ("stopped", "user", "Canceled by you before it started.")
    line.release(first, *runs.values())
    for name in ("b", "c"):
        assert wait_until_ended(runs[name]).status == "completed"
    assert line.order() == ["first", "c", "b"]


def test_killed_queued_run_keeps_its_position_and_is_restarted(line):
    first = line.start("first")
    line.wait_for(first, Status.RUNNING)
    second, third = line.start("second"), line.start("third")
    line.wait_for(third, Status.QUEUED)
    kill_supervisor(second)
    assert line.is_(second, Status.QUEUED)
    assert "restarts the supervisor" in status_of(second, read_state(second)).reason
    assert line.engine.reconcile() == ("second",)
    assert line.engine.reconcile() == ()
    assert line.names() == ["second", "third"]
    line.release(first, second, third)
    wait_until_ended(third)
    assert line.order() == ["first", "second", "third"]


def test_queued_run_during_its_restart_keeps_its_turn(line, monkeypatch):
    first = line.start("first")
    line.wait_for(first, Status.RUNNING)
    second = line.start("second")
    line.wait_for(second, Status.QUEUED)
    kill_supervisor(second)
    with monkeypatch.context() as slow:
        slow.setattr(local, "start_detached", lambda *_: None)  # its new supervisor has not started yet
        assert line.engine.reconcile() == ("second",)
    third = line.start("third")
    line.wait_for(third, Status.QUEUED)
    assert "ahead of it: second" in read_state(third)["reason"]
    engine_of(second).submit(second, read_launch_spec(second))
    line.release(first, second, third)
    wait_until_ended(third)
    assert line.order() == ["first", "second", "third"]


def test_restart_of_queued_runs_does_not_block_the_caller(line, monkeypatch):
    run = line.start("first")
    line.wait_for(run, Status.RUNNING)
    waiting = [line.start(name) for name in ("a", "b")]
    for each in waiting:
        line.wait_for(each, Status.QUEUED)
        kill_supervisor(each)
    monkeypatch.setattr(local, "START_TIMEOUT_S", 0.0)  # waiting would fail
    assert line.engine.reconcile() == ("a", "b")
    for each in waiting:
        wait_for(lambda each=each: is_alive(read_record(each).supervisor))


def test_dead_queued_run_blocks_no_other_and_can_be_canceled(line):
    first = line.start("first")
    line.wait_for(first, Status.RUNNING)
    second, third = line.start("second"), line.start("third")
    line.wait_for(second, Status.QUEUED)
    kill_supervisor(second)
    line.release(first, third)
    assert wait_until_ended(third).status == "completed"
    assert request_stop(second)
    line.wait_for(second, Status.STOPPED)
    assert line.names() == []


def move_away(run):
    run.folder.rename(run.folder.with_name("moved"))


@pytest.mark.parametrize("vanish", [lambda run: shutil.rmtree(run.folder), move_away], ids=["removed", "moved"])
def test_queued_run_whose_folder_vanishes_leaves_the_queue_and_recreates_nothing(line, vanish):
    first = line.start("first")
    line.wait_for(first, Status.RUNNING)
    second = line.start("second")
    line.wait_for(second, Status.QUEUED)
    record = read_record(second)
    vanish(second)
    wait_for(lambda: not is_alive(record.supervisor), 10)
    assert line.names() == []
    assert not second.folder.exists()
    moved = line.outputs.run("moved")
    assert not moved.training_log.exists()
    assert not moved.exit.exists()
    assert not moved.folder.exists() or "nothing is started" in moved.monitor_log.read_text().splitlines()[-1]
    line.release(first)
    wait_until_ended(first)


def test_new_run_with_the_name_of_a_vanished_one_keeps_its_own_ticket(line):
    first = line.start("first")
    line.wait_for(first, Status.RUNNING)
    second = line.start("second")
    line.wait_for(second, Status.QUEUED)
    record = read_record(second)
    move_away(second)
    again = line.start("second", run_id="id-of-another-start")
    wait_for(lambda: not is_alive(record.supervisor), 10)
    line.wait_for(again, Status.QUEUED)
    assert line.queue.ticket(again).run_id == "id-of-another-start"
    line.release(first, again)
    assert wait_until_ended(again).status == "completed"


VANISH = """
import shutil
from fluxgym.engines.local import LocalEngine
acquire = LocalEngine.acquire
def vanishing(self, run, *rest, **more):
    lease = acquire(self, run, *rest, **more)
    shutil.rmtree(run.folder)
    return lease
LocalEngine.acquire = vanishing
"""


def test_run_whose_folder_vanishes_just_before_its_trainer_starts_is_not_recreated(tmp_path):
    run = make_run(tmp_path / "outputs")
    process = launch_broken(run, f"open({str(tmp_path / 'started')!r}, 'w')", VANISH)
    assert process.wait(timeout=30) == 0
    assert not run.folder.exists()
    assert not (tmp_path / "started").exists()


def test_device_stays_locked_while_the_trainer_outlives_its_supervisor(line):
    first = line.start("first")
    record = wait_for(lambda: (found := read_record(first)) and found.trainer and found)
    kill_supervisor(first)
    second = line.start("second")
    line.wait_for(second, Status.QUEUED)
    time.sleep(2.5)  # two looks of the waiting one: what must not happen has no condition to wait for
    assert line.is_(second, Status.QUEUED)
    os.kill(record.trainer.pid, signal.SIGKILL)
    line.wait_for(second, Status.RUNNING)
    line.release(second)
    wait_until_ended(second)


def test_ticket_of_a_deleted_run_is_removed(line):
    first = line.start("first")
    line.wait_for(first, Status.RUNNING)
    second = line.start("second")
    line.wait_for(second, Status.QUEUED)
    kill_supervisor(second)
    shutil.rmtree(second.folder)
    assert line.engine.reconcile() == ()
    line.release(first)
    wait_until_ended(first)
    (line.outputs.queue / "damaged.json").write_text('{"slug": 1')
    (line.outputs.queue / "other.json").write_text(json.dumps({"slug": "../x", "run_id": "x", "place": 0, "since": 0, "devices": ["cpu"]}))
    assert line.names() == []

"""Real supervisors over trainers that stop making progress: found, explained, started again from the newest checkpoint, and given up in the end."""

import json
import os
import signal

import pytest

from fluxgym.engines.registry import engine_of, is_executing
from fluxgym.runs.exit_record import read_exit
from fluxgym.runs.launch_spec import LaunchSpec, read_launch_spec, write_launch_spec
from fluxgym.runs.paths import RunPaths
from fluxgym.runs.process_identity import is_alive, read_record
from fluxgym.sessions.control import request_stop, wait_until_ended
from fluxgym.supervisor import stall
from fluxgym.trainers.base import with_command
from fluxgym.trainers.script import SCRIPT
from tests.support.runs import PRELUDE, make_run, wait_for

SCALE = 0.001  # training may be silent for 1.8 s
RESUMED = "resumed = '--resume' in sys.argv\n"
STALLS_ONCE = RESUMED + (
    "progress(2); state(2)\n"
    "if not resumed: import faulthandler; faulthandler.register(signal.SIGUSR1, all_threads=True); time.sleep(60)\n"
    "progress(3); progress(4); lora()"
)
STALLS_ALWAYS = "progress(2); time.sleep(60)"


def begin(run: RunPaths, program: str, **changes: object) -> LaunchSpec:
    """Start a program under a supervisor whose patience is short."""
    script = run.private / SCRIPT
    script.write_text(
        PRELUDE.replace("folder, name = sys.argv[1], sys.argv[2]", f"folder, name = {str(run.folder)!r}, {run.slug!r}") + program
    )
    spec = LaunchSpec(
        run_id=f"id-{run.slug}", attempt=1, trainer_dir=str(run.private), expected_steps=4, **({"stall_scale": SCALE} | changes)
    )
    order = with_command(spec, run)
    write_launch_spec(run, order)
    engine_of(run).submit(run, order)
    return order


@pytest.fixture(name="run")
def fixture_run(tmp_path):
    run = make_run(tmp_path)
    yield run
    if request_stop(run, now=True):
        wait_until_ended(run)


def test_stalled_trainer_is_restarted_from_its_checkpoint(run):
    begin(run, STALLS_ONCE.replace("state(2)\n", "not resumed and state(2)\n"))
    ended = wait_until_ended(run)
    assert (ended.status, ended.reason) == ("completed", "")
    assert read_launch_spec(run).attempt == 2
    assert read_launch_spec(run).argv[-2:] == ("--resume", str(run.folder / "cat-step00000002-state"))
    log = run.training_log.read_text()
    assert f'File "{run.private / SCRIPT}"' in log  # the Python stack
    assert "is stuck, from /proc" in log
    assert log.index("is stuck") < log.index("== attempt 2 of run")
    assert "stalled: no progress in training" in run.monitor_log.read_text()


def test_stalls_without_progress_end_after_three_restarts(run):
    begin(run, STALLS_ALWAYS)
    ended = wait_until_ended(run)
    assert (ended.status, ended.reason_code) == ("failed", "stalled")
    assert "at step 2 of 4" in ended.reason
    assert "after 3 restarts without progress" in ended.reason
    assert read_launch_spec(run).attempt == 1 + len(stall.PAUSES_S)


def test_frozen_trainer_is_killed_and_its_kernel_state_logged(run):
    begin(run, "progress(2)\nwhile True: progress(2); time.sleep(0.05)", stall_scale=0.002)
    record = wait_for(lambda: (found := read_record(run)) and found.trainer and run.progress.exists() and found)
    os.kill(record.trainer.pid, signal.SIGSTOP)
    wait_for(lambda: "state T" in run.training_log.read_text())
    wait_for(lambda: not is_alive(record.trainer))


def test_stall_without_monitoring_is_not_detected(run):
    begin(run, "progress(2); time.sleep(4); progress(4); lora()", monitoring=False)
    assert wait_until_ended(run).status == "completed"
    assert not run.monitor_pid.exists()
    assert read_launch_spec(run).attempt == 1


def test_stop_during_pause_before_restart_is_handled(run, monkeypatch):
    begin(run, STALLS_ALWAYS, stall_scale=0.002)
    wait_for(lambda: read_record(run) and read_record(run).trainer is None and "restart 3" in run.monitor_log.read_text())
    assert request_stop(run)
    ended = wait_until_ended(run)
    assert (ended.status, ended.reason_code) == ("stopped", "user")


def test_slow_steady_trainer_is_not_called_stalled(run):
    begin(run, "for step in (1, 2, 3, 4): progress(step); time.sleep(1.2)\nlora()")
    assert wait_until_ended(run).status == "completed"
    assert json.loads(run.exit.read_text())["attempt"] == 1


def test_trainer_that_hangs_at_exit_is_completed(run):
    begin(run, "progress(4); lora(); done(); time.sleep(60)")
    ended = wait_until_ended(run)
    assert (ended.status, ended.reason_code) == ("completed", "")
    assert "hung at its exit and was ended" in ended.reason
    assert read_exit(run).verified["ok"]
    assert read_launch_spec(run).attempt == 1


def test_trainer_that_hangs_at_exit_with_damaged_lora_is_not_restarted(run):
    begin(run, "progress(4); lora(cut=3); done(); time.sleep(60)")
    ended = wait_until_ended(run)
    assert (ended.status, ended.reason_code) == ("failed", "not_verified")
    assert "cut short" in ended.reason
    assert read_launch_spec(run).attempt == 1


def test_stalled_trainer_that_exits_with_zero_on_sigterm_is_not_restarted(run):
    begin(run, "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0)); progress(2); time.sleep(60)")
    ended = wait_until_ended(run)
    assert (ended.status, ended.reason_code) == ("failed", "stalled")
    assert read_launch_spec(run).attempt == 1


def test_stall_whose_stacks_cannot_be_written_is_still_ended(run):
    full = "os.remove(f'{folder}/training.log'); os.symlink('/dev/full', f'{folder}/training.log')\n"
    begin(run, full + STALLS_ALWAYS)
    ended = wait_until_ended(run)
    assert (ended.status, ended.reason_code) == ("failed", "launch")  # nor can the next attempt's output
    assert ended.reason.endswith("training.log: it is a link, which is not followed.")
    assert not is_executing(run)

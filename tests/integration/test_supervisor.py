"""A real supervisor over hostile trainers: each end gets its true status, and nothing is left behind."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace

import pytest

from fluxgym.app_settings import Settings
from fluxgym.contract.codes import Status
from fluxgym.contract.lease import read_lease
from fluxgym.engines.registry import engine_of, is_executing, is_supervised, status_of
from fluxgym.errors import StorageError
from fluxgym.runs import launch_spec
from fluxgym.runs.exit_record import read_exit
from fluxgym.runs.launch_spec import write_launch_spec
from fluxgym.runs.process_identity import group_members, read_pid, read_record, start_ticks
from fluxgym.runs.snapshot import RunSnapshot
from fluxgym.sessions.control import request_stop, wait_until_ended
from fluxgym.sessions.resume import needs_check, resume, resume_preview
from fluxgym.supervisor.lease_keeper import LeaseKeeper
from tests.support.runs import (
    GOOD_TRAINER,
    STOPPABLE_TRAINER,
    launch,
    launch_buggy,
    make_spec,
    state_of,
    wait_for,
    wait_until_running,
    write_checkpoint,
)

STUBBORN = "signal.signal(signal.SIGTERM, signal.SIG_IGN); progress(2); open(f'{folder}/ready', 'w'); time.sleep(60)"


ENDS = {
    "a good end": (GOOD_TRAINER, "completed", None, ""),
    "no LoRA": ("progress(4)", "failed", "not_verified", "no cat.safetensors"),
    "too few steps": ("progress(3); lora()", "failed", "not_verified", "3 of 4"),
    "a torn LoRA": ("progress(4); lora(cut=3)", "failed", "not_verified", "cut short"),
    "a LoRA of NaN": ("progress(4); lora((1.0, float('nan')))", "failed", "not_verified", "NaN or infinity"),
    "a crash": ("progress(2); raise SystemExit(1)", "failed", "unknown", "exit code 1"),
    "its own reason": ("progress(2, reason_code='nan', reason='the loss became nan'); sys.exit(2)", "failed", "nan", "The loss became nan"),
    "only a sentence": ("print('error: the flag --x is odd.', file=sys.stderr); sys.exit(2)", "failed", "bad_input", "--x is odd"),
    "CUDA out of memory": ("print('torch.OutOfMemoryError: CUDA out of memory.'); sys.exit(1)", "failed", "cuda_oom", "GPU ran out"),
    "SIGKILL from outside": ("progress(2); os.kill(os.getpid(), 9)", "stopped", "interrupted", "SIGKILL"),
    "143 without a stop request": ("progress(2); sys.exit(143)", "stopped", "interrupted", "outside FluxGym"),
    "a real-time signal": ("progress(2); os.kill(os.getpid(), 35)", "failed", "unknown", "signal SIGRTMIN+1"),
    "a segmentation fault": ("progress(2); os.kill(os.getpid(), 11)", "failed", "unknown", "SIGSEGV"),
}


@pytest.mark.parametrize("name", ENDS)
def test_trainer_end_is_recorded_with_its_true_status_and_reason(name, run):
    program, status, code, words = ENDS[name]
    launch(run, program)
    end = wait_until_ended(run)
    state, record = state_of(run), read_exit(run)
    assert (end.status.value, state["status"], record.status) == (status,) * 3
    assert state.get("reason_code") == code
    assert words in state.get("reason", "")
    assert not run.training_pid.exists()
    assert not run.monitor_pid.exists()
    assert record.verified.get("ok") is {None: True, "not_verified": False}.get(code)  # None: there was nothing to verify


def test_running_trainer_has_status_running_and_its_own_session(run):
    launch(run, STOPPABLE_TRAINER)
    wait_until_running(run)
    record = read_record(run)
    assert read_pid(run.training_pid) == record.trainer.pid
    assert status_of(run, state_of(run)).status is Status.RUNNING
    assert is_supervised(run)
    assert os.getsid(record.trainer.pid) != os.getsid(0)
    assert os.getsid(record.supervisor.pid) != os.getsid(0)


def test_stop_lets_trainer_save_its_state(run):
    launch(run, STOPPABLE_TRAINER)
    wait_until_running(run)
    assert request_stop(run)
    end = wait_until_ended(run)
    assert (end.status, end.reason_code) == (Status.STOPPED, "user")
    assert "step 3 of 4" in end.reason
    assert "saved" in end.reason


def test_stop_of_trainer_that_ignores_sigterm_kills_its_process_group(run):
    launch(run, f"import subprocess; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); {STUBBORN}")
    wait_until_running(run)
    pgid = read_record(run).trainer.pid
    engine_of(run).cancel(run, grace_s=0.5)
    end = wait_until_ended(run)
    assert (end.status, end.reason_code) == (Status.STOPPED, "user")
    assert "killed" in end.reason
    assert not group_members(pgid)


def test_stop_without_saved_state_reports_that_nothing_was_saved(run):
    launch(run, STOPPABLE_TRAINER.replace("state(3), ", ""))
    wait_until_running(run)
    request_stop(run)
    assert "no state was saved" in wait_until_ended(run).reason


def test_immediate_stop_reports_what_is_lost(run):
    launch(run, STOPPABLE_TRAINER)
    wait_until_running(run)
    request_stop(run, now=True)
    end = wait_until_ended(run)
    assert (end.status, end.reason_code) == (Status.STOPPED, "user")
    assert "at once" in end.reason


def test_stop_after_supervisor_died_starts_one_that_stops(run):
    launch(run, STOPPABLE_TRAINER)
    wait_until_running(run)
    os.kill(read_record(run).supervisor.pid, signal.SIGKILL)
    wait_for(lambda: not is_supervised(run))
    assert status_of(run, state_of(run)).status is Status.RUNNING  # the trainer lives on
    request_stop(run)
    end = wait_until_ended(run)
    assert (end.status, end.reason_code) == (Status.STOPPED, "user")


UNWATCHED = "open(f'{folder}/ready', 'w')\nwhile not os.path.exists(f'{folder}/go'): time.sleep(0.01)\nprogress(4)\nlora({values})\ndone()"
DONE = "def done(): open(f'{folder}/progress.jsonl', 'a').write(json.dumps({'phase': 'done', 'step': 4, 'total_steps': 4}) + '\\n')\n"


@pytest.mark.parametrize(("values", "status"), [("", Status.COMPLETED), ("(float('nan'),)", Status.FAILED)])
def test_run_that_ended_without_supervisor_is_completed_only_after_check(run, tmp_path, values, status):
    launch(run, DONE + UNWATCHED.replace("{values}", values))
    wait_until_running(run)
    os.kill(read_record(run).supervisor.pid, signal.SIGKILL)
    wait_for(lambda: not is_supervised(run))
    (run.folder / "go").touch()
    wait_for(lambda: not is_executing(run))
    before = status_of(run, state_of(run))
    assert (before.status, "not checked" in before.reason) == (Status.STOPPED, True)
    assert needs_check(RunSnapshot.read(run))
    resume(run, settings=Settings(outputs=tmp_path))
    assert wait_until_ended(run).status is status
    assert not needs_check(RunSnapshot.read(run))


def test_run_with_all_processes_killed_is_not_running(run):
    launch(run, STOPPABLE_TRAINER)
    wait_until_running(run)
    record = read_record(run)
    os.kill(record.supervisor.pid, signal.SIGKILL)
    os.kill(record.trainer.pid, signal.SIGKILL)
    wait_for(lambda: not is_executing(run))
    end = status_of(run, state_of(run))
    assert (end.status, end.reason_code) == (Status.STOPPED, "interrupted")
    assert state_of(run)["status"] == "running"  # what was written is not what is shown


def test_supervisor_ignores_terminal_signals(run):
    launch(run, STOPPABLE_TRAINER)
    wait_until_running(run)
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        os.kill(read_record(run).supervisor.pid, number)
    request_stop(run)
    assert wait_until_ended(run).reason_code == "user"


def test_deleted_state_is_not_written_again(run):
    launch(run, STOPPABLE_TRAINER)
    wait_until_running(run)
    run.ui_state.unlink()
    request_stop(run)
    wait_for(lambda: read_exit(run))
    assert not run.ui_state.exists()


def test_trainer_environment_has_no_secrets(run, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    launch(run, "progress(4, seen=os.environ.get('HF_TOKEN')); lora()")
    wait_until_ended(run)
    assert "hf_secret" not in "".join(path.read_text(errors="replace") for path in run.folder.rglob("*") if path.is_file())
    assert json.loads(run.progress.read_text().splitlines()[0])["seen"] is None


def test_second_supervisor_exits_and_leaves_first_unchanged(run):
    launched = launch(run, STOPPABLE_TRAINER)
    wait_until_running(run)
    first = read_record(run)
    second = subprocess.run([sys.executable, "-m", "fluxgym.supervisor", str(run.folder)], capture_output=True, text=True, check=False)
    assert second.returncode == 1
    assert "another supervisor" in second.stderr
    assert read_record(run) == first
    assert launched.attempt == 1


def test_supervisor_memory_stays_below_30_mb(run):
    import psutil

    launch(run, STOPPABLE_TRAINER)
    wait_until_running(run)
    assert psutil.Process(read_record(run).supervisor.pid).memory_info().rss < 30 << 20


ESCAPES = """
import subprocess
hide = "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); os.setsid(); open({mark!r} + str(os.getpid()), 'w'); time.sleep(60)"
for number, environment in enumerate((None, {{}})):
    if os.fork() == 0:
        os.setsid()
        subprocess.Popen([sys.executable, "-c", hide], env=environment)
        os._exit(0)
progress(4); lora(); time.sleep(1)
"""


def test_child_processes_in_other_sessions_end_with_trainer(run, tmp_path):
    mark = str(tmp_path / "hidden-")
    launch(run, ESCAPES.format(mark=mark))
    hidden = wait_for(lambda: len(found := list(tmp_path.glob("hidden-*"))) == 2 and found)
    assert wait_until_ended(run).status is Status.COMPLETED
    assert [start_ticks(int(path.name.removeprefix("hidden-"))) for path in hidden] == [None, None]


REFUSE = """
from fluxgym.errors import AlreadyRunning, StorageError
def refuse(error):
    def refusing(*_, **__): raise error
    return refusing
"""
BUSY = (
    REFUSE
    + """
finalize.update_state = refuse(AlreadyRunning("Another process is changing the run cat."))
"""
)


def test_state_file_that_cannot_be_written_does_not_end_training(run):
    supervisor = launch_buggy(run, GOOD_TRAINER, BUSY)
    assert supervisor.wait(30) == 0
    assert read_exit(run).status == "completed"
    assert status_of(run, state_of(run)).status is Status.COMPLETED


@pytest.mark.parametrize(("cause", "code"), [("OSError(28, 'full')", "disk_full"), ("OSError(30, 'read-only')", "storage")])
def test_trainer_that_cannot_be_recorded_is_killed_with_storage_reason(run, cause, code):
    mistake = f"{REFUSE}error = StorageError('It could not be written.'); error.__cause__ = {cause}\nsupervisor.write_text = refuse(error)"
    supervisor = launch_buggy(run, "time.sleep(60)", mistake)
    assert supervisor.wait(30) == 0
    assert (read_exit(run).status, read_exit(run).reason_code) == ("failed", code)
    assert read_exit(run).signal == "SIGKILL"


@pytest.mark.parametrize(("number", "code"), [(28, "disk_full"), (5, "storage")])
def test_trainer_that_can_write_its_reason_nowhere_has_it_from_its_exit_code(run, number, code):
    launch(run, f"progress(2); os.truncate(f'{{folder}}/training.log', 0); os._exit({number})")
    ended = wait_until_ended(run)
    assert (ended.status, ended.reason_code) == ("failed", code)


def test_full_disk_under_log_is_full_disk(run):
    full = "error = OSError(28, 'No space left on device'); supervisor.start_trainer = refuse(error)"
    supervisor = launch_buggy(run, "", f"{REFUSE}{full}")
    assert supervisor.wait(30) == 0
    assert (read_exit(run).reason_code, read_exit(run).reason) == (
        "disk_full",
        "The trainer could not be started: No space left on device.",
    )


LOOKS_BADLY = REFUSE + "from fluxgym.supervisor.stall import StallWatch\nStallWatch.check = refuse(RuntimeError('a mistake'))"


def test_supervisor_exception_does_not_end_training(run):
    supervisor = launch_buggy(run, "progress(2); time.sleep(1); progress(4); lora()", LOOKS_BADLY)
    assert supervisor.wait(30) == 0
    assert "a mistake" in run.monitor_log.read_text()
    assert status_of(run, state_of(run)).status is Status.COMPLETED


def test_supervisor_after_exception_still_handles_stop(run):
    supervisor = launch_buggy(run, STOPPABLE_TRAINER, LOOKS_BADLY)
    wait_until_running(run)
    wait_for(lambda: "a mistake" in run.monitor_log.read_text())
    assert request_stop(run)
    assert supervisor.wait(30) == 0
    assert (read_exit(run).status, read_exit(run).reason_code) == ("stopped", "user")


def test_outcome_that_cannot_be_computed_is_recorded_as_supervisor_error(run):
    supervisor = launch_buggy(run, GOOD_TRAINER, REFUSE + "finalize.classify = refuse(RuntimeError('a mistake'))")
    assert supervisor.wait(30) == 0
    assert (read_exit(run).status, read_exit(run).reason_code) == ("failed", "supervisor")
    assert not is_executing(run)


def test_stop_on_full_disk_stops_trainer(run, monkeypatch):
    launch(run, STOPPABLE_TRAINER)
    wait_until_running(run)
    monkeypatch.setattr(launch_spec, "write_json", lambda path, _: (_ for _ in ()).throw(StorageError(f"{path}: full")))
    assert request_stop(run)
    assert wait_until_ended(run).reason_code == "user"
    assert not run.stop_reserve.exists()


def test_checkpoint_that_trainer_refused_is_not_offered_again(run, tmp_path):
    for step in (2, 3):
        write_checkpoint(run, f"cat-step{step:08d}-state", step)
    refuse = "progress(0, reason_code='bad_input', reason='it is damaged', checkpoint='cat-step00000003-state'); sys.exit(2)"
    spec = replace(make_spec(run, refuse), resume_from=str(run.folder / "cat-step00000003-state"))
    write_launch_spec(run, spec)
    assert resume_preview(RunSnapshot.read(run)).step == 3
    engine_of(run).submit(run, spec)
    assert wait_until_ended(run).reason == "It is damaged"
    assert resume_preview(RunSnapshot.read(run)).step == 2


def test_run_that_finished_after_clock_went_back_is_completed(run):
    launch(run, "lora(); os.utime(f'{folder}/{name}.safetensors', (time.time() - 86400,) * 2); progress(4)")
    assert wait_until_ended(run).status is Status.COMPLETED


def test_state_saved_after_clock_went_back_counts_as_saved(run):
    back = STOPPABLE_TRAINER.replace("state(3), ", "state(3), os.utime(f'{folder}/{name}-step00000003-state/manifest.json', (1e9, 1e9)), ")
    launch(run, back)
    wait_until_running(run)
    request_stop(run)
    assert wait_until_ended(run).reason == "Stopped by you at step 3 of 4; its state was saved."


def test_trainer_that_does_not_check_lease_is_killed_when_another_start_has_folder(run):
    launch(run, STOPPABLE_TRAINER)
    wait_until_running(run)
    record = read_record(run)
    before = {path: path.read_bytes() for path in (run.ui_state, run.process, run.training_pid, run.progress)}
    LeaseKeeper.take(run.lease)
    wait_for(lambda: not is_executing(run))
    assert start_ticks(record.trainer.pid) is None
    assert "another start has taken over" in run.monitor_log.read_text()
    assert {path: path.read_bytes() for path in before} == before
    assert not run.exit.exists()


def test_trainer_that_found_itself_replaced_leaves_no_record_of_its_end(run):
    launch(run, "progress(2); sys.exit(144)")
    wait_for(lambda: not is_executing(run))
    assert not run.exit.exists()


def test_trainer_knows_lease_under_which_it_was_started(run):
    launch(run, "progress(4, holder=os.environ['FLUXGYM_LEASE'], folder=os.environ['FLUXGYM_RUN_FOLDER']); lora()")
    wait_until_ended(run)
    line = json.loads(run.progress.read_text().splitlines()[0])
    assert (line["holder"], line["folder"]) == (read_lease(run.lease).holder, str(run.folder))

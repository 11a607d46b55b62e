"""The check of a finished run's LoRA by its supervisor: what it compares, and how a stop, a crash or a frozen supervisor changes it."""

import os
import signal
import time

import pytest

from fluxgym.app_settings import Settings
from fluxgym.contract.codes import Status
from fluxgym.engines.registry import engine_of, status_of
from fluxgym.runs.exit_record import read_exit
from fluxgym.runs.launch_spec import read_launch_spec
from fluxgym.runs.process_identity import is_alive, read_record
from fluxgym.runs.progress import read_last
from fluxgym.runs.snapshot import RunSnapshot
from fluxgym.sessions.control import request_stop, wait_until_ended
from fluxgym.sessions.resume import needs_check, resume
from tests.support.runs import GOOD_TRAINER, launch, launch_buggy, make_spec, state_of, wait_for, wait_until_running

SLOW_CHECK = "finalize.VERIFIER = (sys.executable, '-c', 'import time; time.sleep(60)')"


def test_lora_on_disk_with_another_clock_is_not_called_old(run):
    an_hour_behind = "lora(); os.utime(f'{folder}/{name}.safetensors', (time.time() - 3600,) * 2); progress(4)"
    make_spec(run, an_hour_behind)
    os.utime(run.launch, (time.time() - 3601,) * 2)
    engine_of(run).submit(run, read_launch_spec(run))
    assert wait_until_ended(run).status is Status.COMPLETED


def test_lora_of_earlier_start_is_called_old(run):
    make_spec(run, "progress(4)")
    (run.folder / "cat.safetensors").write_bytes(b"of an earlier start")
    os.utime(run.lora, (run.launch.stat().st_mtime - 0.5,) * 2)
    engine_of(run).submit(run, read_launch_spec(run))
    assert "older than this start" in wait_until_ended(run).reason


def test_verification_can_be_stopped_and_is_repeated_by_resume(run, tmp_path):
    supervisor = launch_buggy(run, "progress(4); lora(); done()", SLOW_CHECK)
    wait_for(lambda: run.progress.exists() and (read_last(run.progress) or {}).get("phase") == "verifying")
    assert read_last(run.progress)["step"] == 4
    assert status_of(run, state_of(run)).status is Status.RUNNING
    assert request_stop(run)
    assert supervisor.wait(30) == 0
    assert (read_exit(run).status, read_exit(run).reason_code) == ("stopped", "user")
    assert "Resume checks it" in read_exit(run).reason
    assert read_last(run.progress)["phase"] == "done"
    assert needs_check(RunSnapshot.read(run))
    resume(run, settings=Settings(outputs=tmp_path))
    assert wait_until_ended(run).status is Status.COMPLETED
    assert not needs_check(RunSnapshot.read(run))


def test_stop_before_trainer_ended_does_not_skip_verification(run):
    finishes = "signal.signal(signal.SIGTERM, lambda *_: (progress(4), lora(), done(), sys.exit(0)))\n"
    launch(run, f"{finishes}progress(2); open(f'{{folder}}/ready', 'w'); time.sleep(60)")
    wait_until_running(run)
    assert request_stop(run)
    assert wait_until_ended(run).status is Status.COMPLETED


@pytest.mark.parametrize("now", [False, True], ids=["kindly", "now"])
def test_stop_of_trainer_that_ended_while_its_supervisor_was_frozen_does_not_skip_verification(run, now):
    launch(
        run,
        "progress(2); open(f'{folder}/ready', 'w')\nwhile not os.path.exists(f'{folder}/go'): time.sleep(0.05)\nprogress(4); lora(); done()",
    )
    wait_until_running(run)
    record = read_record(run)
    os.kill(record.supervisor.pid, signal.SIGSTOP)
    (run.folder / "go").touch()
    wait_for(lambda: not is_alive(record.trainer))
    assert request_stop(run, now=now)
    assert wait_until_ended(run).status is Status.COMPLETED


def test_verification_that_crashes_fails_run(run):
    slow = SLOW_CHECK.replace("import time; time.sleep(60)", "raise SystemExit(3)")
    assert launch_buggy(run, GOOD_TRAINER, slow).wait(30) == 0
    assert (read_exit(run).status, read_exit(run).reason_code) == ("failed", "not_verified")
    assert "could not be checked" in read_exit(run).reason

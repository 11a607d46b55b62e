"""Every action on a run is refused in the same cases: it is live here, on another host or without a record, or it waits in the queue."""

import os
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from fluxgym.app_settings import Settings
from fluxgym.errors import AlreadyRunning, TakesOver
from fluxgym.runs.exit_record import ExitRecord, write_exit_record
from fluxgym.runs.paths import OutputsPaths
from fluxgym.runs.process_identity import PROC, identify
from fluxgym.runs.state import read_state
from fluxgym.sessions.delete import delete
from fluxgym.sessions.forget import forget, sweep
from fluxgym.sessions.history import restore, save_version, versions
from fluxgym.sessions.preconditions import ensure_ended, ensure_not_elsewhere, is_name_available
from fluxgym.sessions.resume import resume
from fluxgym.supervisor.lease_keeper import LeaseKeeper
from tests.support.runs import make_run, record_processes, wait_for, write_ticket

ACTIONS = {
    "forget": forget,
    "delete": delete,
    "resume": lambda run: resume(run, settings=Settings(outputs=run.folder.parent)),
    "restore": lambda run: restore(run, versions(run)[0].id),
}


def lives_here(run):
    me = identify(os.getpid(), "id-cat")
    record_processes(run, "id-cat", 1, me, me)


def lives_elsewhere(run):
    there = replace(identify(os.getpid(), "id-cat"), boot_id="another", host="pod")
    record_processes(run, "id-cat", 1, there, there)
    run.progress.touch()


def waits(run):
    run.ui_state.write_text(run.ui_state.read_text().replace("running", "queued"))
    write_ticket(run)


@pytest.fixture(name="start_orphan")
def fixture_start_orphan():
    """Return a function that starts a trainer of a run that no record names."""
    processes = []

    def start(run):
        code = "import time; time.sleep(60)"
        processes.append(subprocess.Popen([sys.executable, "-c", code, "flux_train_network.py", str(run.folder)]))
        if run.ui_state.exists():
            run.ui_state.write_text(run.ui_state.read_text().replace("running", "stopped"))

    yield start
    for process in processes:
        process.kill()
        process.wait()


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("situation", ["here", "elsewhere", "waiting", "orphan"])
def test_live_run_is_never_changed(action, situation, start_orphan, tmp_path):
    run = make_run(tmp_path, status="running", timestamp=1.0)
    save_version(run)
    {"here": lives_here, "elsewhere": lives_elsewhere, "waiting": waits, "orphan": start_orphan}[situation](run)
    before = read_state(run)
    with pytest.raises(AlreadyRunning):
        ACTIONS[action](run)
    assert read_state(run) == before


def silent_elsewhere(run):
    lives_elsewhere(run)
    os.utime(run.progress, (time.time() - 300,) * 2)


def test_takeover_from_another_host_requires_consent(tmp_path):
    run = make_run(tmp_path, status="running", timestamp=1.0)
    silent_elsewhere(run)
    ensure_ended(run)
    with pytest.raises(TakesOver, match="ran on another machine or container, pod; its last sign of life was at"):
        ensure_not_elsewhere(run, [])
    with pytest.raises(TakesOver):
        ACTIONS["resume"](run)
    ensure_not_elsewhere(run, ["TakesOver"])


def test_run_that_has_ended_on_another_host_is_resumed_without_question(tmp_path):
    run = make_run(tmp_path, status="running", timestamp=1.0)
    silent_elsewhere(run)
    write_exit_record(run, ExitRecord(run_id="id-cat", attempt=1, status="stopped", reason_code="user", reason="Stopped by you."))
    ensure_not_elsewhere(run, [])
    run.exit.unlink()
    run.ui_state.write_text(run.ui_state.read_text().replace("running", "stopped"))
    ensure_not_elsewhere(run, [])


def test_silent_trainer_on_another_host_is_live_while_lease_is_renewed(tmp_path):
    run = make_run(tmp_path, status="running", timestamp=1.0)
    silent_elsewhere(run)
    LeaseKeeper.take(run.lease)
    with pytest.raises(AlreadyRunning, match="It runs on another machine, pod"):
        ensure_ended(run)


def test_ended_run_may_be_changed_though_its_state_is_damaged(tmp_path):
    run = make_run(tmp_path, status="stopped")
    ensure_ended(run)
    run.ui_state.write_text("{")
    ensure_ended(run)


def test_sweep_reads_process_table_once(tmp_path, monkeypatch, start_orphan):
    runs = [make_run(tmp_path, f"run-{number}", status="stopped", timestamp=1.0) for number in range(5)]
    start_orphan(runs[3])
    scans = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: scans.append(path) or scandir(path))
    assert sorted(sweep(tmp_path, 30)) == ["run-0", "run-1", "run-2", "run-4"]
    assert scans.count(PROC) == 1
    assert [run.slug for run in OutputsPaths(tmp_path).runs()] == ["run-3"]


def test_name_is_not_reused_while_its_removed_run_is_live(tmp_path, start_orphan):
    run = OutputsPaths(tmp_path).run("cat-2")
    assert is_name_available(run)
    start_orphan(run)
    assert wait_for(lambda: not is_name_available(run))  # once it has become the program that it is to be

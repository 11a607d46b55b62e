"""The processes of a trainer that has ended: each is identified before it is signaled, also the members of its group."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest

from fluxgym.runs.launch_spec import LaunchSpec
from fluxgym.runs.paths import RunPaths
from fluxgym.runs.process_identity import LocalProcess, group_members, identify, signal_process, start_ticks
from fluxgym.supervisor.process_tree import kill_group, remaining_processes, request_termination, terminate_process_tree
from fluxgym.supervisor.trainer_process import AdoptedTrainer, start_trainer
from tests.support.runs import wait_for

DAEMON = "import signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); open(sys.argv[1], 'w'); time.sleep(60)"
LEAVES_A_DAEMON = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {DAEMON!r}, *sys.argv[1:]])"


@pytest.fixture(name="stranger")
def fixture_stranger(tmp_path):
    """A group leader that another process has started; it is killed after the test."""
    note = tmp_path / "stranger.pid"
    code = f"import os, time; os.setsid(); open({str(note)!r}, 'w').write(str(os.getpid()) + '.'); time.sleep(60)"
    subprocess.run(["sh", "-c", '"$0" -c "$1" >/dev/null 2>&1 &', sys.executable, code], check=True)
    wait_for(lambda: note.exists() and note.read_text().endswith("."))
    process = LocalProcess(pid := int(note.read_text()[:-1]), start_ticks(pid))
    yield process
    signal_process(process, signal.SIGKILL)


def adopted(process: LocalProcess, *, ticks: int) -> AdoptedTrainer:
    """Return a trainer with the PID of a process and a start tick."""
    identity = identify(process.pid, "id-cat")
    assert identity is not None
    return AdoptedTrainer(replace(identity, start_ticks=ticks))


def test_group_leader_that_has_pid_of_dead_trainer_is_not_signaled(tmp_path, stranger):
    trainer = adopted(stranger, ticks=stranger.start_ticks - 1)
    assert trainer.poll() is not None
    request_termination(trainer)
    kill_group(trainer)
    assert terminate_process_tree(trainer, RunPaths(tmp_path), "id-cat", kill=False) == []
    assert stranger.is_alive


def test_group_that_was_never_seen_with_its_trainer_is_not_signaled(tmp_path, stranger):
    """The new group's leader has ended by now, so that only its number is left to be seen."""
    trainer = adopted(stranger, ticks=stranger.start_ticks - 1)
    trainer.poll()
    assert group_members(stranger.pid) == [stranger.pid]
    assert trainer.group() == []


def test_group_of_adopted_trainer_is_ended_with_it(tmp_path):
    note = tmp_path / "ready"
    child = subprocess.Popen([sys.executable, "-c", LEAVES_A_DAEMON + "; import time; time.sleep(60)", str(note)], start_new_session=True)
    wait_for(note.exists)
    trainer = AdoptedTrainer(identify(child.pid, "id-cat"))
    assert trainer.poll() is None
    child.kill()
    child.wait()
    assert trainer.poll() is not None
    assert len(trainer.group()) == 1
    assert terminate_process_tree(trainer, RunPaths(tmp_path), "id-cat", kill=True) == []
    assert group_members(child.pid) == []


def test_pid_of_trainer_cannot_be_reused_while_daemon_of_it_is_being_ended(tmp_path):
    note = tmp_path / "ready"
    spec = LaunchSpec(run_id="id-cat", attempt=1, trainer_dir=str(tmp_path), argv=(sys.executable, "-c", LEAVES_A_DAEMON, str(note)))
    trainer = start_trainer(RunPaths(tmp_path), spec, SimpleNamespace(env={}, file_descriptors=()))
    assert wait_for(lambda: trainer.poll() is not None or None)
    assert trainer.poll() == 0
    wait_for(note.exists)
    assert [process.pid for process in remaining_processes(trainer, RunPaths(tmp_path), "id-cat")] == group_members(trainer.pid)
    assert (os.waitid(os.P_PID, trainer.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)).si_pid == trainer.pid  # a zombie holds the PID
    assert terminate_process_tree(trainer, RunPaths(tmp_path), "id-cat", kill=True) == []
    with pytest.raises(ChildProcessError):
        os.waitid(os.P_PID, trainer.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    assert trainer.poll() == 0


@pytest.mark.parametrize("code", [0, 3, -9])
def test_exit_code_of_started_trainer_is_known_before_and_after_its_release(tmp_path, code):
    program = "import os; os.kill(os.getpid(), 9)" if code < 0 else f"raise SystemExit({code})"
    spec = LaunchSpec(run_id="id-cat", attempt=1, trainer_dir=str(tmp_path), argv=(sys.executable, "-c", program))
    trainer = start_trainer(RunPaths(tmp_path), spec, SimpleNamespace(env={}, file_descriptors=()))
    wait_for(lambda: trainer.poll() is not None)
    assert trainer.poll() == code
    trainer.release()
    assert trainer.poll() == code
    request_termination(trainer)  # there is nothing to signal any more
    assert trainer.group() == []

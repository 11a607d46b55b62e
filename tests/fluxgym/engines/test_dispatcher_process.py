"""The dispatcher as other processes see it; with real runs it is tested in tests/integration/test_dispatcher.py."""

import json
import os
import signal
import subprocess
import sys

import pytest

from fluxgym.engines import dispatcher, dispatcher_process
from fluxgym.engines.dispatcher_process import DISPATCHER_ENDED, DispatcherProcess
from fluxgym.errors import LaunchError, StorageError
from fluxgym.runs.detached import PROJECT
from fluxgym.runs.locks import try_lock
from fluxgym.runs.paths import OutputsPaths
from fluxgym.runs.process_identity import identify, is_frozen
from tests.support.runs import wait_for


def test_unknown_dispatcher_has_ended_and_this_process_is_recorded(process):
    assert process.problem() == DISPATCHER_ENDED
    process.record()
    assert process.problem() == ""


def test_removed_identity_is_written_again(process):
    process.record()
    process.lock.with_suffix(".json").unlink()
    process.renew()
    assert process.problem() == ""


def test_outputs_folder_has_one_dispatcher_for_all_its_paths(process, outputs, tmp_path):
    (tmp_path / "link").symlink_to(outputs.root)
    assert DispatcherProcess(OutputsPaths(tmp_path / "link")).lock == process.lock
    other = DispatcherProcess(OutputsPaths(tmp_path / "other"))
    assert other.lock != process.lock
    assert not process.other_queues()
    other.record()
    assert (process.other_queues(), other.other_queues()) == (True, False)


def test_frozen_dispatcher_is_reported_and_resumed(process):
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


def test_dispatcher_without_tickets_ends_at_once(process, outputs):
    process.ensure()
    assert process.problem() == DISPATCHER_ENDED
    assert dispatcher.main([str(outputs.root)]) == 0


def test_dispatcher_that_cannot_start_is_error_with_end_of_its_log(process, outputs, monkeypatch):
    monkeypatch.setattr(dispatcher_process, "MODULE", "fluxgym.no_such_module")
    with pytest.raises(LaunchError, match=r"could not be started: .*no_such_module"):
        process.ensure()


def test_log_that_is_link_is_not_followed(process, outputs, tmp_path):
    (outputs.queue / "dispatcher.log").symlink_to(tmp_path / "precious")
    with pytest.raises(StorageError, match=r"dispatcher\.log cannot be used: it is a link"):
        process.ensure()
    assert not (tmp_path / "precious").exists()


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
        child = subprocess.Popen([sys.executable, "-c", code, str(process.lock), dispatcher_process.MODULE], cwd=PROJECT)
        children.append(child)
        wait_for(lambda: (known := identify(child.pid, "")) and is_frozen(known))
        os.utime(process.lock, (1000.0, 1000.0))
        return child

    yield start
    for child in children:
        child.kill()
        child.wait()


def test_dispatcher_that_was_frozen_before_it_recorded_itself_is_reported_and_resumed(process, outputs, newborn):
    child = newborn(
        "import time; from fluxgym.engines.dispatcher_process import DispatcherProcess; from fluxgym.runs.paths import OutputsPaths\n"
        f"DispatcherProcess(OutputsPaths(Path({str(outputs.root)!r}))).record(); time.sleep(60)"
    )
    assert f"(PID {child.pid}) is frozen" in process.problem()
    process.ensure()
    assert process.problem() == ""


def test_unresponsive_dispatcher_is_replaced(process, outputs, newborn, monkeypatch):
    child = newborn("import time; time.sleep(60)")
    monkeypatch.setattr(dispatcher_process, "START_TIMEOUT_S", 2.0)
    process.ensure()
    assert child.wait(10) == -signal.SIGKILL
    assert process.problem() == DISPATCHER_ENDED  # nothing waits


def test_dispatcher_whose_identity_was_removed_is_found_by_its_lock(process, newborn):
    newborn("import time; time.sleep(60)").send_signal(signal.SIGCONT)
    wait_for(lambda: process.problem() == "")
    os.utime(process.lock)  # as it does regularly
    process.ensure()


def test_dispatcher_frozen_at_start_is_killed_after_timeout(process, outputs, monkeypatch, tmp_path):
    monkeypatch.setattr(dispatcher_process, "START_TIMEOUT_S", 1.0)
    monkeypatch.setattr(dispatcher_process, "MODULE", "frozen_at_birth")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "frozen_at_birth.py").write_text(
        FROZEN_AT_BIRTH.format(after="").replace("Path(sys.argv[1])", f"Path({str(process.lock)!r})")
    )
    with pytest.raises(LaunchError, match="it did not answer"):
        process.ensure()
    wait_for(lambda: (lock := try_lock(process.lock)) is not None and lock.close() is None)


def test_lock_with_unknown_holder_is_reported(process, monkeypatch):
    monkeypatch.setattr(dispatcher_process, "START_TIMEOUT_S", 0.2)
    with try_lock(process.lock), pytest.raises(LaunchError, match=r"cannot be seen from here holds .*\.lock"):
        process.ensure()

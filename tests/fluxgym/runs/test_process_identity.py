"""A PID alone proves nothing: reused ones, zombies and other boots are distinguished."""

import errno
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from fluxgym.runs import process_identity as identity_module
from fluxgym.runs.locks import try_lock
from fluxgym.runs.process_identity import (
    Liveness,
    ProcessIdentity,
    group_members,
    identify,
    init_started_at,
    is_alive,
    liveness_of,
    local_process,
    lock_holder,
    signal_process,
    signal_recorded,
    start_ticks,
)
from tests.support.runs import wait_for


def sleeper(**options):
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], **options)


def test_live_process_is_alive_and_dead_one_is_not():
    process = sleeper()
    identity = identify(process.pid, "run")
    assert is_alive(identity)
    process.kill()
    process.wait()
    assert liveness_of(identity) is Liveness.DEAD
    assert identify(process.pid, "run") is None


def test_zombie_is_dead():
    process = sleeper()
    identity = identify(process.pid, "run")
    process.kill()
    wait_for(lambda: start_ticks(process.pid) is None)
    assert process.returncode is None  # not waited for yet
    assert not is_alive(identity)
    process.wait()


def test_reused_pid_is_another_process():
    own = identify(os.getpid(), "run")
    assert not is_alive(replace(own, start_ticks=own.start_ticks - 1))


def test_process_of_another_boot_or_host_is_recognized():
    own = identify(os.getpid(), "run")
    assert liveness_of(replace(own, boot_id="another")) is Liveness.REBOOTED
    assert liveness_of(replace(own, init_ticks=own.init_ticks + 1)) is Liveness.REBOOTED
    assert liveness_of(replace(own, boot_id="another", host="elsewhere")) is Liveness.OTHER_HOST


def test_process_1_is_alive_although_it_cannot_be_signaled():
    assert is_alive(identify(1, "run"))


def test_identities_survive_json_and_other_values_return_none():
    own = identify(os.getpid(), "run")
    assert ProcessIdentity.from_json(own.to_json()) == own
    for nonsense in (None, 7, {}, {"pid": "x"}, [1]):
        assert ProcessIdentity.from_json(nonsense) is None


def test_group_members_are_listed():
    process = sleeper(start_new_session=True)
    assert group_members(process.pid) == [process.pid]
    process.kill()
    process.wait()
    assert group_members(process.pid) == []


def test_another_machine_of_same_host_name_is_not_reboot_of_this_one(tmp_path, monkeypatch):
    monkeypatch.setattr(identity_module, "MACHINE_ID", tmp_path / "machine-id")
    (tmp_path / "machine-id").write_text("this\n")
    own = identify(os.getpid(), "x")
    assert own.machine_id == "this"
    assert liveness_of(replace(own, boot_id="another")) is Liveness.REBOOTED
    assert liveness_of(replace(own, boot_id="another", machine_id="that")) is Liveness.OTHER_HOST
    assert liveness_of(replace(own, boot_id="another", machine_id="")) is Liveness.REBOOTED  # not known
    before = own.to_json()
    del before["machine_id"]  # as it was recorded before
    assert ProcessIdentity.from_json(before) == replace(own, machine_id="")


def test_signal_is_sent_only_to_identified_process():
    child = subprocess.Popen(["sleep", "60"])
    process = local_process(child.pid)
    assert not signal_process(replace(process, start_ticks=process.start_ticks - 1), signal.SIGKILL)
    assert not signal_recorded(replace(identify(child.pid, "x"), boot_id="another"), signal.SIGKILL)
    assert process.is_alive
    assert signal_process(process, signal.SIGTERM, signal.SIGCONT)
    assert child.wait(30) == -signal.SIGTERM
    assert not process.is_alive
    assert not signal_process(process, signal.SIGTERM)


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EPERM])
def test_identity_is_checked_without_pidfd_support(monkeypatch, number):
    def refuse(pid):
        raise OSError(number, "pidfd_open")

    monkeypatch.setattr(os, "pidfd_open", refuse)
    child = subprocess.Popen(["sleep", "60"])
    process = local_process(child.pid)
    assert not signal_process(replace(process, start_ticks=process.start_ticks - 1), signal.SIGKILL)
    assert signal_process(process, signal.SIGTERM)
    assert child.wait(30) == -signal.SIGTERM


def test_start_of_pid_1_is_that_of_container_or_machine():
    import psutil

    assert abs(init_started_at() - psutil.Process(1).create_time()) < 60


def test_holder_of_lock_is_known_by_its_program(tmp_path):
    program = Path("/proc/self/cmdline").read_bytes().split(b"\0")[0].decode()
    with try_lock(tmp_path / "lock"):
        assert lock_holder(tmp_path / "lock", program) == identify(os.getpid(), "")
        assert lock_holder(tmp_path / "lock", "another.program") is None
    assert lock_holder(tmp_path / "lock", program) is None
    assert lock_holder(tmp_path / "missing", program) is None

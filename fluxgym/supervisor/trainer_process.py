"""The trainer as a process: started in its own group, or taken over from a supervisor that died; signalled, and ended with all its family."""

import ctypes
import os
import signal
import subprocess
import time
from typing import Protocol

from fluxgym.contract.files import ATTEMPT_VARIABLE, RUN_ID_VARIABLE
from fluxgym.engines.base import Lease
from fluxgym.runs.launch_spec import LaunchSpec
from fluxgym.runs.paths import RunPaths
from fluxgym.runs.process_identity import PROC, ProcessIdentity, group_members, is_alive, stat_fields

POLL_S = 0.25
GROUP_END_S = 10.0
SECRETS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_TOKEN", "FLUXGYM_TOKEN", "WANDB_API_KEY")
UNKNOWN_CODE = 1 << 16
PR_SET_CHILD_SUBREAPER = 36


class Trainer(Protocol):
    """A trainer's process: a child, or one that was taken over."""

    pid: int

    def poll(self) -> int | None:
        """Return the exit code once it has ended, None before; UNKNOWN_CODE when it cannot be known."""


class AdoptedTrainer:
    """A trainer that is somebody else's child; its exit code cannot be known."""

    def __init__(self, identity: ProcessIdentity) -> None:
        self.identity, self.pid = identity, identity.pid

    def poll(self) -> int | None:
        """Return UNKNOWN_CODE once the very process has gone."""
        return None if is_alive(self.identity) else UNKNOWN_CODE


def start_trainer(run: RunPaths, order: LaunchSpec, lease: Lease) -> subprocess.Popen[bytes]:
    """Start the trainer in its own process group, its output straight into training.log; it inherits the devices' locks."""
    environment = {name: value for name, value in os.environ.items() if name not in SECRETS}
    environment |= {
        "PYTHONUNBUFFERED": "1",
        RUN_ID_VARIABLE: order.run_id,
        ATTEMPT_VARIABLE: str(order.attempt),
        "FLUXGYM_RUN_FOLDER": str(run.folder),
        **order.env,
        **lease.env,
    }
    with run.training_log.open("ab") as output:
        header = f"== attempt {order.attempt} of run {order.run_id}, {time.strftime('%Y-%m-%d %H:%M:%S')} ==\n"
        output.write(header.encode())
        output.flush()
        return subprocess.Popen(
            order.argv,
            cwd=order.trainer_dir,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            pass_fds=lease.file_descriptors,
        )


def request_termination(pid: int) -> None:
    """Send SIGTERM to the trainer alone, and wake it if somebody froze it, so that it can save."""
    for number in (signal.SIGTERM, signal.SIGCONT):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return


def signal_group(pgid: int, number: int) -> None:
    """Send a signal to a whole process group, if there is one."""
    try:
        os.killpg(pgid, number)
    except ProcessLookupError:
        return


def become_subreaper() -> None:
    """Become the parent of whatever the trainer's children leave behind, also of those with a session of their own (see prctl(2))."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def terminate_process_tree(pgid: int, run: RunPaths, run_id: str, *, kill: bool) -> list[int]:
    """End what is left of a trainer: its process group, orphans that came to us, and what was started for this folder; with `kill` at once.

    Returns those that outlived even SIGKILL.
    """
    deadline = time.monotonic() + GROUP_END_S
    while members := family(pgid, run, run_id):
        if time.monotonic() > deadline:
            return members
        must = kill or time.monotonic() > deadline - GROUP_END_S / 2
        for pid in members:
            _signal_member(pid, signal.SIGKILL if must else signal.SIGTERM)
        time.sleep(POLL_S)
        _reap(pgid)
    return []


def family(pgid: int, run: RunPaths, run_id: str) -> list[int]:
    """Return the live processes that belong to a trainer which has ended itself."""
    parents = _parents()
    ours = set(_descendants(os.getpid(), parents))
    marks = {os.fsencode(f"FLUXGYM_RUN_FOLDER={run.folder}"), os.fsencode(f"{RUN_ID_VARIABLE}={run_id}")}
    marked = {pid for pid in parents if pid != os.getpid() and marks <= set(_environment(pid))}
    return sorted(({*group_members(pgid)} | ours | marked) - {os.getpid()})


def _parents() -> dict[int, int]:
    """Return every live process's parent."""
    found = {}
    for entry in os.scandir(PROC):
        if entry.name.isdigit() and (fields := stat_fields(int(entry.name))) is not None:
            found[int(entry.name)] = int(fields[1])
    return found


def _descendants(root: int, parents: dict[int, int]) -> list[int]:
    children = [pid for pid, parent in parents.items() if parent == root]
    return children + [below for child in children for below in _descendants(child, parents)]


def _environment(pid: int) -> list[bytes]:
    try:
        return (PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return []


def _signal_member(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
        os.kill(pid, signal.SIGCONT)  # a frozen one would never hear of it
    except (ProcessLookupError, PermissionError):
        return


def _reap(pgid: int) -> None:
    """Bury the orphans that came to us and have ended; the trainer itself is its Popen's to bury."""
    for entry in os.scandir(PROC):
        if entry.name.isdigit() and int(entry.name) != pgid:
            try:
                os.waitpid(int(entry.name), os.WNOHANG)
            except ChildProcessError:
                continue

"""A trainer's processes: signaled, and ended with it. Each is identified before each signal, so that a reused PID is never signaled."""

import ctypes
import os
import signal
import time

from fluxgym.contract.files import RUN_ID_VARIABLE
from fluxgym.contract.lease import RUN_FOLDER_VARIABLE
from fluxgym.errors import NotReadableNow
from fluxgym.runs.paths import RunPaths
from fluxgym.runs.process_identity import PROC, LocalProcess, signal_process, stat_fields
from fluxgym.runs.storage_errors import EXHAUSTED
from fluxgym.supervisor.trainer_process import POLL_S, Trainer

GROUP_END_S = 10.0
PR_SET_CHILD_SUBREAPER = 36


def request_termination(trainer: Trainer) -> None:
    """Send SIGTERM to the trainer alone, and SIGCONT in case it is frozen, so that it can save."""
    trainer.send(signal.SIGTERM, signal.SIGCONT)


def kill_group(trainer: Trainer) -> None:
    """Send SIGKILL to the trainer's process group."""
    for process in trainer.group():
        signal_process(process, signal.SIGKILL)


def become_subreaper() -> None:
    """Become the parent of orphaned descendants, also of those in other sessions; see prctl(2)."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def terminate_process_tree(trainer: Trainer, run: RunPaths, run_id: str, *, kill: bool) -> list[int]:
    """End the remaining processes of a trainer that has ended, and release its PID.

    These are its process group, adopted orphans, and all that were started for this folder. With kill, SIGKILL is sent at once. Returns
    the PIDs of the processes that survived it.
    """
    deadline = time.monotonic() + GROUP_END_S
    while (members := _remaining_if_known(trainer, run, run_id)) and time.monotonic() <= deadline:
        is_forced = kill or time.monotonic() > deadline - GROUP_END_S / 2
        for process in members:
            signal_process(process, signal.SIGKILL if is_forced else signal.SIGTERM, signal.SIGCONT)  # a frozen process handles no signal
        time.sleep(POLL_S)
        _reap(trainer.pid)
    trainer.release()
    return [process.pid for process in members]


def _remaining_if_known(trainer: Trainer, run: RunPaths, run_id: str) -> list[LocalProcess]:
    """Return the remaining processes, [] if /proc cannot be read for GROUP_END_S because too many files are open."""
    deadline = time.monotonic() + GROUP_END_S
    while True:
        try:
            return remaining_processes(trainer, run, run_id)
        except (NotReadableNow, OSError) as error:
            if isinstance(error, OSError) and error.errno not in EXHAUSTED:
                raise
            if time.monotonic() > deadline:
                return []
        time.sleep(POLL_S)


def remaining_processes(trainer: Trainer, run: RunPaths, run_id: str) -> list[LocalProcess]:
    """Return the live processes of a trainer that has ended, by PID."""
    parents = _parents()
    below = _descendants(os.getpid(), parents)
    marked = {process for process in parents if process.pid != os.getpid() and _is_marked(process.pid, run, run_id)}
    return sorted({*below, *marked, *trainer.group()}, key=lambda process: process.pid)


def _is_marked(pid: int, run: RunPaths, run_id: str) -> bool:
    """Return True if a process was started for a run, by its environment."""
    return {os.fsencode(f"{RUN_FOLDER_VARIABLE}={run.folder}"), os.fsencode(f"{RUN_ID_VARIABLE}={run_id}")} <= set(_environment(pid))


def _parents() -> dict[LocalProcess, int]:
    """Return every live process with the PID of its parent."""
    found = {}
    for entry in os.scandir(PROC):
        if entry.name.isdigit() and (fields := stat_fields(int(entry.name))) is not None:
            found[LocalProcess(int(entry.name), int(fields[19]))] = int(fields[1])
    return found


def _descendants(root: int, parents: dict[LocalProcess, int]) -> list[LocalProcess]:
    children = [process for process, parent in parents.items() if parent == root]
    return children + [below for child in children for below in _descendants(child.pid, parents)]


def _environment(pid: int) -> list[bytes]:
    try:
        return (PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return []


def _reap(pgid: int) -> None:
    """Reap adopted orphans that have ended; the trainer itself is reaped by its Popen."""
    for entry in os.scandir(PROC):
        if entry.name.isdigit() and int(entry.name) != pgid:
            try:
                os.waitpid(int(entry.name), os.WNOHANG)
            except ChildProcessError:
                continue

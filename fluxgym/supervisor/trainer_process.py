"""The trainer as a process: started in its own group or adopted from a dead supervisor, signaled, and ended with all its descendants."""

import ctypes
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Protocol

from fluxgym.contract.files import ATTEMPT_VARIABLE, RUN_ID_VARIABLE
from fluxgym.contract.regular_files import append_regular
from fluxgym.engines.base import Lease
from fluxgym.errors import NotReadableNow
from fluxgym.runs.files import EXHAUSTED
from fluxgym.runs.launch_spec import LaunchSpec
from fluxgym.runs.paths import RunPaths
from fluxgym.runs.process_identity import PROC, ProcessIdentity, group_members, is_alive, stat_fields

RUN_FOLDER_VARIABLE = "FLUXGYM_RUN_FOLDER"
POLL_S = 0.25
GROUP_END_S = 10.0
WANDB_KEY = "WANDB_API_KEY"
SECRETS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_TOKEN", "FLUXGYM_TOKEN", WANDB_KEY)
# OpenMP's threads wait for each other in a busy loop unless told otherwise. While another program uses one of two cores, a step on the CPU then
# takes ten times as long.
DEFAULTS = {"OMP_WAIT_POLICY": "PASSIVE"}
UNKNOWN_CODE = 1 << 16
PR_SET_CHILD_SUBREAPER = 36
OOM_EVENTS = Path("/sys/fs/cgroup/memory.events")


class Trainer(Protocol):
    """A trainer's process: a child or an adopted one."""

    pid: int

    def poll(self) -> int | None:
        """Return the exit code once it has ended, None before; UNKNOWN_CODE if the exit code cannot be known."""


class AdoptedTrainer:
    """A trainer that is the child of another process, so its exit code cannot be known."""

    def __init__(self, identity: ProcessIdentity) -> None:
        self.identity, self.pid = identity, identity.pid

    def poll(self) -> int | None:
        """Return UNKNOWN_CODE once the recorded process has ended; None if that cannot be known now."""
        try:
            return None if is_alive(self.identity) else UNKNOWN_CODE
        except NotReadableNow:
            return None


def start_trainer(run: RunPaths, spec: LaunchSpec, lease: Lease) -> subprocess.Popen[bytes]:
    """Start the trainer in its own process group, with its output in training.log and the devices' locks inherited."""
    needed = _needed_secrets(spec)
    environment = DEFAULTS | {name: value for name, value in os.environ.items() if name not in SECRETS or name in needed}
    environment |= {
        "PYTHONUNBUFFERED": "1",
        RUN_ID_VARIABLE: spec.run_id,
        ATTEMPT_VARIABLE: str(spec.attempt),
        RUN_FOLDER_VARIABLE: str(run.folder),
        **spec.env,
        **lease.env,
    }
    with append_regular(run.training_log) as output:
        header = f"== attempt {spec.attempt} of run {spec.run_id}, {time.strftime('%Y-%m-%d %H:%M:%S')} ==\n"
        output.write(header.encode())
        return subprocess.Popen(
            spec.argv,
            cwd=spec.trainer_dir,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            pass_fds=lease.file_descriptors,
        )


def _needed_secrets(spec: LaunchSpec) -> tuple[str, ...]:
    """Return the secrets that the trainer needs: wandb's key, if the run logs to wandb."""
    return (WANDB_KEY,) if {"wandb", "all"} & set(spec.options.get("--log_with") or ()) else ()


def request_termination(pid: int) -> None:
    """Send SIGTERM to the trainer alone, and SIGCONT in case it is frozen, so that it can save."""
    for number in (signal.SIGTERM, signal.SIGCONT):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return


def signal_group(pgid: int, number: int) -> None:
    """Send a signal to a process group, if it exists."""
    try:
        os.killpg(pgid, number)
    except ProcessLookupError:
        return


def become_subreaper() -> None:
    """Become the parent of orphaned descendants, also of those in other sessions; see prctl(2)."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def terminate_process_tree(pgid: int, run: RunPaths, run_id: str, *, kill: bool) -> list[int]:
    """End the remaining processes of a trainer: its process group, adopted orphans, and all that were started for this folder.

    With kill, SIGKILL is sent at once. Returns the processes that survived it.
    """
    deadline = time.monotonic() + GROUP_END_S
    while members := _descendants_if_known(pgid, run, run_id):
        if time.monotonic() > deadline:
            return members
        is_forced = kill or time.monotonic() > deadline - GROUP_END_S / 2
        for pid in members:
            _signal_member(pid, signal.SIGKILL if is_forced else signal.SIGTERM)
        time.sleep(POLL_S)
        _reap(pgid)
    return []


def _descendants_if_known(pgid: int, run: RunPaths, run_id: str) -> list[int]:
    """Return the live processes of a trainer that has ended, [] if /proc cannot be read for GROUP_END_S because too many files are open."""
    deadline = time.monotonic() + GROUP_END_S
    while True:
        try:
            return descendant_pids(pgid, run, run_id)
        except (NotReadableNow, OSError) as error:
            if isinstance(error, OSError) and error.errno not in EXHAUSTED:
                raise
            if time.monotonic() > deadline:
                return []
        time.sleep(POLL_S)


def descendant_pids(pgid: int, run: RunPaths, run_id: str) -> list[int]:
    """Return the live processes of a trainer that has ended."""
    parents = _parents()
    ours = set(_descendants(os.getpid(), parents))
    marks = {os.fsencode(f"{RUN_FOLDER_VARIABLE}={run.folder}"), os.fsencode(f"{RUN_ID_VARIABLE}={run_id}")}
    marked = {pid for pid in parents if pid != os.getpid() and marks <= set(_environment(pid))}
    return sorted(({*group_members(pgid)} | ours | marked) - {os.getpid()})


def _parents() -> dict[int, int]:
    """Return the parent of every live process."""
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
        os.kill(pid, signal.SIGCONT)  # a frozen process handles no signal
    except (ProcessLookupError, PermissionError):
        return


def _reap(pgid: int) -> None:
    """Reap adopted orphans that have ended; the trainer itself is reaped by its Popen."""
    for entry in os.scandir(PROC):
        if entry.name.isdigit() and int(entry.name) != pgid:
            try:
                os.waitpid(int(entry.name), os.WNOHANG)
            except ChildProcessError:
                continue


def kernel_oom_kills() -> int:
    """Return how often the kernel has killed a process of this control group because memory ran out; 0 if it is unknown."""
    try:
        lines = OOM_EVENTS.read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))
    except (OSError, StopIteration, ValueError):
        return 0

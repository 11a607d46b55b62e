"""The trainer as a process: started in its own group, or adopted from a dead supervisor."""

import os
import subprocess
import time
from pathlib import Path
from typing import Protocol

from fluxgym.contract.files import ATTEMPT_VARIABLE, RUN_ID_VARIABLE
from fluxgym.contract.lease import HOLDER_VARIABLE, RUN_FOLDER_VARIABLE
from fluxgym.contract.regular_files import append_regular
from fluxgym.contract.training_log import attempt_header
from fluxgym.engines.base import HeldDevices
from fluxgym.errors import NotReadableNow
from fluxgym.runs.launch_spec import LaunchSpec
from fluxgym.runs.paths import RunPaths
from fluxgym.runs.process_identity import LocalProcess, ProcessIdentity, is_alive, processes_of_group, signal_recorded

POLL_S = 0.25
WANDB_KEY = "WANDB_API_KEY"
SECRETS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_TOKEN", "FLUXGYM_TOKEN", WANDB_KEY)
# OpenMP's threads wait for each other in a busy loop unless told otherwise. While another program uses one of two cores, a step on the CPU then
# takes ten times as long.
DEFAULTS = {"OMP_WAIT_POLICY": "PASSIVE"}
PASSED = ("CUDA_VISIBLE_DEVICES", "PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")  # what a launch.json may set; nothing that names code
UNKNOWN_CODE = 1 << 16
OOM_EVENTS = Path("/sys/fs/cgroup/memory.events")


class Trainer(Protocol):
    """A trainer's process: a child or an adopted one. Nothing is signaled through it but this process and its group."""

    pid: int

    def poll(self) -> int | None:
        """Return the exit code once it has ended, None before; UNKNOWN_CODE if the exit code cannot be known."""

    def send(self, *numbers: int) -> None:
        """Send signals to the trainer alone; nothing if it has ended."""

    def group(self) -> list[LocalProcess]:
        """Return the live processes of its process group, also after its end; [] if the number may belong to another group by now."""

    def release(self) -> None:
        """Let its PID be used again; call it when all of its processes have ended."""


class StartedTrainer:
    """A trainer that this process has started.

    When it has ended it stays a zombie until `release`, so that no other process and no other group gets its PID meanwhile.
    """

    def __init__(self, child: subprocess.Popen[bytes]) -> None:
        self.pid, self._child = child.pid, child
        self._code: int | None = None

    def poll(self) -> int | None:
        """Return the exit code once it has ended, negative for a signal."""
        if self._code is None and self._child.returncode is None:
            ended = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if ended is not None:
                self._code = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
        return self._code

    def send(self, *numbers: int) -> None:
        """Send signals; the PID is this child's until `release`."""
        if self._child.returncode is None:
            for number in numbers:
                os.kill(self.pid, number)

    def group(self) -> list[LocalProcess]:
        """Return the live processes of its group."""
        return processes_of_group(self.pid) if self._child.returncode is None else []

    def release(self) -> None:
        """Reap it."""
        self._child.wait()


class AdoptedTrainer:
    """A trainer that is the child of another process, which reaps it: its exit code cannot be known, and its PID can be used again."""

    def __init__(self, identity: ProcessIdentity) -> None:
        self.identity, self.pid = identity, identity.pid
        self._members: set[LocalProcess] = set()

    def poll(self) -> int | None:
        """Return UNKNOWN_CODE once the recorded process has ended; None if that cannot be known now."""
        try:
            members = processes_of_group(self.pid)
            if not is_alive(self.identity):
                return UNKNOWN_CODE
        except NotReadableNow:
            return None
        self._members = set(members)  # read while it was alive, so they are of its group
        return None

    def send(self, *numbers: int) -> None:
        """Send signals to the recorded process."""
        signal_recorded(self.identity, *numbers)

    def group(self) -> list[LocalProcess]:
        """Return the live processes of its group.

        The group is still this trainer's while it, or a process that was seen in the group, is alive; otherwise its number may be
        reused, and [] is returned.
        """
        members = processes_of_group(self.pid)
        is_same = is_alive(self.identity) or not self._members.isdisjoint(members)
        if not is_same or any(member.pid == self.pid and member.start_ticks != self.identity.start_ticks for member in members):
            return []
        self._members |= set(members)
        return members

    def release(self) -> None:
        """Nothing: another process reaps it."""


def start_trainer(run: RunPaths, spec: LaunchSpec, devices: HeldDevices, *, holder: str = "") -> StartedTrainer:
    """Start the trainer in its own process group, with its output in training.log and the devices' locks inherited.

    holder is the name in the lease on the folder.
    """
    needed = _needed_secrets(spec)
    environment = DEFAULTS | {name: value for name, value in os.environ.items() if name not in SECRETS or name in needed}
    environment |= {
        "PYTHONUNBUFFERED": "1",
        RUN_ID_VARIABLE: spec.run_id,
        ATTEMPT_VARIABLE: str(spec.attempt),
        RUN_FOLDER_VARIABLE: str(run.folder),
        HOLDER_VARIABLE: holder,
        **{name: value for name, value in spec.env.items() if name in PASSED},
        **devices.env,
    }
    with append_regular(run.training_log) as output:
        output.write(attempt_header(spec.attempt, spec.run_id, time.strftime("%Y-%m-%d %H:%M:%S")).encode())
        child = subprocess.Popen(
            spec.argv,
            cwd=spec.trainer_dir,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            pass_fds=devices.file_descriptors,
        )
    return StartedTrainer(child)


def _needed_secrets(spec: LaunchSpec) -> tuple[str, ...]:
    """Return the secrets that the trainer needs: wandb's key, if the run logs to wandb."""
    return (WANDB_KEY,) if {"wandb", "all"} & set(spec.options.get("--log_with") or ()) else ()


def kernel_oom_kills() -> int:
    """Return how often the kernel has killed a process of this control group because memory ran out; 0 if it is unknown."""
    try:
        lines = OOM_EVENTS.read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))
    except (OSError, StopIteration, ValueError):
        return 0

"""The trainer as a process: started in its own group, or taken over from a supervisor that died; signalled, and ended with all its group."""

import os
import signal
import subprocess
import time
from typing import IO, Protocol

from fluxgym.launch.order import LaunchOrder
from fluxgym.run.identity import ProcessIdentity, group_members, is_alive
from fluxgym.run.paths import RunPaths

POLL_S = 0.25
GROUP_END_S = 10.0
SECRETS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_TOKEN", "FLUXGYM_TOKEN", "WANDB_API_KEY")
UNKNOWN_CODE = 1 << 16


class Trainer(Protocol):
    """A trainer's process: a child, or one that was taken over."""

    pid: int

    def poll(self) -> int | None:
        """Return the exit code once it has ended, None before; UNKNOWN_CODE when it cannot be known."""


class TakenOver:
    """A trainer that is somebody else's child; its exit code cannot be known."""

    def __init__(self, identity: ProcessIdentity) -> None:
        self.identity, self.pid = identity, identity.pid

    def poll(self) -> int | None:
        """Return UNKNOWN_CODE once the very process has gone."""
        return None if is_alive(self.identity) else UNKNOWN_CODE


def start_trainer(run: RunPaths, order: LaunchOrder, held: list[IO[str]]) -> subprocess.Popen[bytes]:
    """Start the trainer in its own process group, its output straight into training.log; it inherits the devices' locks."""
    environment = {name: value for name, value in os.environ.items() if name not in SECRETS}
    environment |= {"PYTHONUNBUFFERED": "1", "FLUXGYM_RUN_ID": order.run_id, "FLUXGYM_ATTEMPT": str(order.attempt), **order.env}
    with run.training_log.open("ab") as output:
        header = f"== attempt {order.attempt} of run {order.run_id}, {time.strftime('%Y-%m-%d %H:%M:%S')} ==\n"
        output.write(header.encode())
        output.flush()
        return subprocess.Popen(
            order.argv,
            cwd=order.cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            pass_fds=[file.fileno() for file in held],
        )


def ask_to_end(pid: int) -> None:
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


def clear_group(pgid: int, *, kill: bool) -> list[int]:
    """End what is left of a process group, with `kill` at once; returns those that outlived even that."""
    deadline = time.monotonic() + GROUP_END_S
    while members := group_members(pgid):
        if time.monotonic() > deadline:
            return members
        must = kill or time.monotonic() > deadline - GROUP_END_S / 2
        signal_group(pgid, signal.SIGKILL if must else signal.SIGTERM)
        time.sleep(POLL_S)
    return []

"""The model of one run that tests/integration/test_truth.py compares with the real one."""

import signal
from contextlib import suppress
from pathlib import Path

from fluxgym.runs.process_identity import ProcessIdentity, is_alive


def catches_stop(trainer: ProcessIdentity | None) -> bool:
    """Return True if a trainer lives and handles SIGTERM: one that is stopped while Python starts ends without a checkpoint."""
    if trainer is None or not is_alive(trainer):
        return False
    with suppress(OSError):
        lines = Path(f"/proc/{trainer.pid}/status").read_text().splitlines()
        caught = next(int(line.split()[1], 16) for line in lines if line.startswith("SigCgt:"))
        return bool(caught >> (signal.SIGTERM - 1) & 1)
    return False


class Model:
    """What is true of one run: is its trainer, its supervisor alive; is it in line, where it has neither; how did it end."""

    def __init__(self) -> None:
        self.exists = self.trainer = self.supervisor = self.queued = self.trainer_frozen = self.supervisor_frozen = False
        self.pid_removed = self.damaged = self.has_checkpoint = False
        self.ended = self.thawed_end = "stopped"

    @property
    def shown(self) -> str:
        """The status that has to be shown."""
        if self.damaged:
            return "unreadable"
        if self.trainer:
            return "stopped" if self.pid_removed else "running"
        return "queued" if self.queued else self.ended

    @property
    def is_busy(self) -> bool:
        """Return True if anything of it lives, or waits in line."""
        return self.trainer or self.supervisor or self.queued

"""progress.jsonl in the output folder: one object a line, appended and flushed, for whoever watches the run."""

import json
import os
import resource
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from library.errors import TrainerError
from library.files import disk_errors

FILE_NAME = "progress.jsonl"
PART_INTERVAL_S = 0.3


class ProgressLog:
    """Writes where the training is; without an output folder it writes nothing."""

    def __init__(self, output_dir: str | None, *, total_steps: int = 0) -> None:
        self.path = Path(output_dir) / FILE_NAME if output_dir else None
        self.attempt = int(os.environ.get("FLUXGYM_ATTEMPT", "1"))
        self.phase = "loading"
        self.total_steps = total_steps
        self.step = 0
        self._last_part = 0.0

    def enter(self, phase: str, **fields: Any) -> None:
        """Say that a phase has begun, or how far it is."""
        self.phase = phase
        self.write(**fields)

    def enter_part(self, phase: str, done: int, total: int) -> None:
        """Say how far a phase of many small pieces is, at most a few times a second."""
        if done == total or phase != self.phase or time.monotonic() - self._last_part >= PART_INTERVAL_S:
            self._last_part = time.monotonic()
            self.enter(phase, item=done, num_items=total)

    def fail(self, reason_code: str, reason: str) -> None:
        """Say as the last line why the training ends; a disk that refuses even this cannot be told."""
        with suppress(OSError, TrainerError):
            self.write(reason_code=reason_code, reason=reason)

    def write(self, **fields: Any) -> None:
        """Append one line; fields that are None are left out. The folder is made if need be."""
        if self.path is None:
            return
        line = {
            "time": time.time(),
            "attempt": self.attempt,
            "phase": self.phase,
            "step": self.step,
            "total_steps": self.total_steps or None,
        }
        line |= fields | memory_in_use()
        text = json.dumps({key: value for key, value in line.items() if value is not None})
        with disk_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(text + "\n")


def memory_in_use() -> dict[str, int | None]:
    """Peak host memory, and what the GPU's allocator holds, in MB."""
    vram = torch.cuda.memory_reserved() >> 20 if torch.cuda.is_available() else None
    return {"vram_mb": vram, "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10}

"""progress.jsonl, the state of the training for the app. PyTorch is not imported, so that an early refusal is written without it."""

import json
import os
import resource
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from fluxgym.contract.codes import Phase, ReasonCode
from fluxgym.contract.files import ATTEMPT_VARIABLE, PROGRESS
from fluxgym.contract.progress import Line, append_lines, format_line, validate_line
from library.errors import TrainerError
from library.files import disk_errors

PART_INTERVAL_S = 0.3


class ProgressLog:
    """Appends the state of the training to progress.jsonl in the output folder; writes nothing if `output_dir` is None."""

    def __init__(self, output_dir: str | Path | None, *, total_steps: int = 0) -> None:
        self.path = Path(output_dir) / PROGRESS if output_dir else None
        self.attempt = int(os.environ.get(ATTEMPT_VARIABLE, "1"))
        self.phase = Phase.LOADING
        self.total_steps = total_steps
        self.step = 0
        self._last_part = 0.0

    def enter(self, phase: Phase, **fields: Any) -> None:
        """Write the current phase, with further fields of the line."""
        self.phase = phase
        self.write(**fields)

    def enter_part(self, phase: Phase, done: int, total: int) -> None:
        """Write the progress of a phase that processes many items, at most every PART_INTERVAL_S seconds."""
        if done == total or phase != self.phase or time.monotonic() - self._last_part >= PART_INTERVAL_S:
            self._last_part = time.monotonic()
            self.enter(phase, item=done, num_items=total)

    def has_validation(self, step: int) -> bool:
        """Return True if a line has the validation loss of a step; lines that a kill cut off are ignored."""
        if self.path is None or not self.path.is_file():
            return False
        lines = self.path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
        return any(line is not None and "val_loss" in line and line.get("step") == step for line in map(parse_line, lines))

    def fail(self, reason_code: ReasonCode, reason: str, *, checkpoint: str | None = None) -> None:
        """Write the reason of a failure, and the checkpoint that could not be used, as the last line; errors of this write are ignored."""
        with suppress(OSError, TrainerError):
            self.write(reason_code=reason_code, reason=reason, checkpoint=checkpoint)

    def write(self, **fields: Any) -> None:
        """Append one line without the fields that are None, and create the folder if it does not exist."""
        if self.path is None:
            return
        line = {
            "time": time.time(),
            "attempt": self.attempt,
            "phase": self.phase,
            "step": self.step,
            "total_steps": self.total_steps or None,
        }
        text = format_line(line | fields | memory_in_use())
        with disk_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            append_lines(self.path, text)


def parse_line(text: str) -> Line | None:
    """Return a line of progress.jsonl, None if it cannot be read."""
    try:
        return validate_line(json.loads(text))
    except (ValueError, RecursionError):
        return None


def memory_in_use() -> dict[str, int | None]:
    """Return the memory reserved on the GPU (None without one) and the peak host memory, in MB."""
    vram = _reserved_mb() if sys.modules.get("torch") else None  # before PyTorch is imported, nothing is reserved
    return {"vram_mb": vram, "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10}


def _reserved_mb() -> int | None:
    import torch

    from library.placement.device_index import with_index

    return torch.cuda.memory_reserved(with_index("cuda")) >> 20 if torch.cuda.is_available() else None

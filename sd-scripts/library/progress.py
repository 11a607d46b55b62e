"""progress.jsonl in the output folder: one object a line, appended and flushed, for whoever watches the run."""

import json
import os
import resource
import time
from pathlib import Path
from typing import Any

import torch

FILE_NAME = "progress.jsonl"


class ProgressLog:
    """Writes where the training is; without an output folder it writes nothing."""

    def __init__(self, output_dir: str | None, *, total_steps: int = 0) -> None:
        self.path = Path(output_dir) / FILE_NAME if output_dir else None
        self.attempt = int(os.environ.get("FLUXGYM_ATTEMPT", "1"))
        self.phase = "loading"
        self.total_steps = total_steps
        self.step = 0

    def enter(self, phase: str, **fields: Any) -> None:
        """Say that a phase has begun, or how far it is."""
        self.phase = phase
        self.write(**fields)

    def write(self, **fields: Any) -> None:
        """Append one line; fields that are None are left out."""
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
        with self.path.open("a", encoding="utf-8") as file:
            file.write(text + "\n")


def memory_in_use() -> dict[str, int | None]:
    """Peak host memory, and what the GPU's allocator holds, in MB."""
    vram = torch.cuda.memory_reserved() >> 20 if torch.cuda.is_available() else None
    return {"vram_mb": vram, "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10}

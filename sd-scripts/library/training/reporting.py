"""progress.jsonl, the progress bar, and log destinations."""

import logging
import os
import resource
import sys
import time
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from fluxgym.contract.codes import Phase, ReasonCode
from fluxgym.contract.files import ATTEMPT_VARIABLE, PROGRESS
from fluxgym.contract.progress import format_line
from library.config import LogConfig
from library.errors import TrainerError
from library.files import disk_errors
from library.placement.device_index import with_index
from library.training.position import Position
from library.training.trackers import Trackers

PART_INTERVAL_S = 0.3
SPEED_WINDOW = 20


class ProgressLog:
    """Writes where the training is; without an output folder it writes nothing."""

    def __init__(self, output_dir: str | Path | None, *, total_steps: int = 0) -> None:
        self.path = Path(output_dir) / PROGRESS if output_dir else None
        self.attempt = int(os.environ.get(ATTEMPT_VARIABLE, "1"))
        self.phase = Phase.LOADING
        self.total_steps = total_steps
        self.step = 0
        self._last_part = 0.0

    def enter(self, phase: Phase, **fields: Any) -> None:
        """Say that a phase has begun, or how far it is."""
        self.phase = phase
        self.write(**fields)

    def enter_part(self, phase: Phase, done: int, total: int) -> None:
        """Say how far a phase of many small pieces is, at most a few times a second."""
        if done == total or phase != self.phase or time.monotonic() - self._last_part >= PART_INTERVAL_S:
            self._last_part = time.monotonic()
            self.enter(phase, item=done, num_items=total)

    def fail(self, reason_code: ReasonCode, reason: str) -> None:
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
        text = format_line(line | fields | memory_in_use())
        with disk_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(text)


def memory_in_use() -> dict[str, int | None]:
    """Peak host memory, and what the GPU's allocator holds, in MB."""
    vram = torch.cuda.memory_reserved(with_index("cuda")) >> 20 if torch.cuda.is_available() else None
    return {"vram_mb": vram, "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10}


class Console:
    """The bar, the average loss over about an epoch, and the speed over the last steps."""

    def __init__(self, step: int, total_steps: int, loss_window: int, losses: Iterable[float] = ()) -> None:
        self._losses: deque[float] = deque(losses, maxlen=max(1, loss_window))  # a resumed training's average goes on
        self._seconds: deque[float] = deque(maxlen=SPEED_WINDOW)
        interval = 0.1 if sys.stderr.isatty() else 2.0  # a log file keeps every line
        self._bar = tqdm(total=total_steps, initial=step, desc="steps", mininterval=interval, miniters=1, smoothing=0.1)

    def close(self) -> None:
        """Leave the bar as it is."""
        self._bar.close()

    def advance(self, loss: float, seconds: float) -> float:
        """Count a step; returns the mean seconds a step over the last SPEED_WINDOW steps."""
        self._losses.append(loss)
        self._seconds.append(seconds)
        self._bar.set_postfix(avr_loss=self.average, refresh=False)
        self._bar.update()
        return sum(self._seconds) / len(self._seconds)

    @property
    def losses(self) -> list[float]:
        """The losses that the average is taken over, oldest first."""
        return list(self._losses)

    @property
    def average(self) -> float:
        """The average loss over about an epoch; 0 before the first step."""
        return sum(self._losses) / max(1, len(self._losses))

    def rest(self) -> None:
        """Begin the bar's own speed again after something that was no step."""
        self._bar.unpause()


class Reporter:
    """Reports a running training: to progress.jsonl, on the bar, and as curves."""

    def __init__(self, *, progress: ProgressLog, console: Console, trackers: Trackers) -> None:
        self.progress, self.console, self.trackers = progress, console, trackers

    @property
    def losses(self) -> list[float]:
        """The losses that the average is taken over, oldest first."""
        return self.console.losses

    @property
    def log_folder(self) -> str:
        """The trackers' folder below --logging_dir; empty without one."""
        return self.trackers.log_folder

    def enter(self, phase: Phase, **fields: Any) -> None:
        """Report that a phase has begun."""
        self.progress.enter(phase, **fields)

    def report_step(self, position: Position, loss: float, rates: Mapping[str, float], seconds: float) -> None:
        """Report a step that led to a position, its loss, learning rates and duration."""
        self.progress.step, epoch = position.step, position.current_epoch
        speed = self.console.advance(loss, seconds)
        rate = next((rate for name, rate in rates.items() if name.startswith("d*lr")), next(iter(rates.values())))
        self.progress.enter(Phase.TRAINING, epoch=epoch, loss=loss, lr=rate, s_per_it=speed)
        self.trackers.log_step(loss=loss, average=self.console.average, rates=rates, step=position.step, epoch=epoch)

    def report_epoch(self, position: Position) -> None:
        """Report the average loss at the end of an epoch."""
        epoch = position.epochs_begun
        self.trackers.log({"loss/epoch_average": self.console.average}, x=epoch, step=position.step, epoch=epoch)

    def report_validation(self, kind: str, x: int, loss: float, position: Position) -> None:
        """Report a validation loss at x, the number of steps (kind "step") or of epochs (kind "epoch")."""
        self.progress.write(val_loss=loss)
        name, divergence = f"loss/validation/{kind}", loss - self.console.average
        values = {f"{name}_average": loss, f"{name}_divergence": divergence}
        self.trackers.log(values, x=x, step=position.step, epoch=position.current_epoch)
        self.pause()

    def pause(self) -> None:
        """Leave the time since the last step out of the bar's speed."""
        self.console.rest()

    def close(self) -> None:
        """Close the bar and write out the curves."""
        self.console.close()
        self.trackers.close()


def set_up_logging(config: LogConfig) -> None:
    """Send log lines to stderr with their level, plain to stdout (simple), or to a file, to which a resumed training appends."""
    handler: logging.Handler = logging.StreamHandler(sys.stdout if config.console_log_simple else sys.stderr)
    if config.console_log_file:
        with disk_errors(config.console_log_file):
            config.console_log_file.parent.mkdir(parents=True, exist_ok=True)
            handler = logging.FileHandler(config.console_log_file, encoding="utf-8")
            logging.getLogger("flux_train_network").handlers[:] = [handler]  # what errors.warn says
    logging.basicConfig(
        level=config.console_log_level or logging.INFO,
        format="%(message)s" if config.console_log_simple else "%(levelname)s %(message)s",
        handlers=[handler],
        force=True,
    )
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it warns of 4-bit kernels that are not used

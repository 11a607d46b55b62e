"""Reports of a running training: the progress bar, trackers, and logging; progress_log.py writes progress.jsonl."""

import logging
import sys
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

from tqdm import tqdm

from fluxgym.contract.codes import Phase
from library.config import LogConfig
from library.files import disk_errors
from library.training.position import Position
from library.training.progress_log import ProgressLog
from library.training.trackers import Trackers

SPEED_WINDOW = 20


class Console:
    """The progress bar, the moving average of the loss over `loss_window` steps, and the speed of the last steps."""

    def __init__(self, step: int, total_steps: int, loss_window: int, losses: Iterable[float] = ()) -> None:
        self._losses: deque[float] = deque(losses, maxlen=max(1, loss_window))  # restored from the checkpoint by a resumed training
        self._seconds: deque[float] = deque(maxlen=SPEED_WINDOW)
        interval = 0.1 if sys.stderr.isatty() else 2.0  # a log file keeps every line
        self._bar = tqdm(total=total_steps, initial=step, desc="steps", mininterval=interval, miniters=1, smoothing=0.1)

    def close(self) -> None:
        """Close the bar."""
        self._bar.close()

    def advance(self, loss: float, seconds: float) -> float:
        """Advance the bar by a step; returns the mean seconds per step over the last SPEED_WINDOW steps."""
        self._losses.append(loss)
        self._seconds.append(seconds)
        self._bar.set_postfix(avr_loss=self.average, refresh=False)
        self._bar.update()
        return sum(self._seconds) / len(self._seconds)

    @property
    def losses(self) -> list[float]:
        """The losses of the moving average, oldest first."""
        return list(self._losses)

    @property
    def average(self) -> float:
        """The moving average of the loss; 0 before the first step."""
        return sum(self._losses) / max(1, len(self._losses))

    def unpause(self) -> None:
        """Exclude the time since the last step from the bar's speed."""
        self._bar.unpause()


class Reporter:
    """Reports a running training to progress.jsonl, the progress bar and the trackers."""

    def __init__(self, *, progress: ProgressLog, console: Console, trackers: Trackers) -> None:
        self.progress, self.console, self.trackers = progress, console, trackers

    @property
    def losses(self) -> list[float]:
        """The losses of the moving average, oldest first."""
        return self.console.losses

    @property
    def log_folder(self) -> str:
        """The name of the trackers' folder in --logging_dir; empty without trackers."""
        return self.trackers.log_folder

    def enter(self, phase: Phase, **fields: Any) -> None:
        """Report the current phase."""
        self.progress.enter(phase, **fields)

    def enter_part(self, phase: Phase, done: int, total: int) -> None:
        """Report the progress of a phase that processes many items."""
        self.progress.enter_part(phase, done, total)

    def has_validation(self, step: int) -> bool:
        """Return True if the validation loss of a step was reported, also by an earlier attempt."""
        return self.progress.has_validation(step)

    def report_step(self, position: Position, loss: float, rates: Mapping[str, float], seconds: float) -> None:
        """Report a finished step: the position after it, its loss, learning rates by name, and duration in seconds."""
        self.progress.step = position.step
        epoch = position.current_epoch
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
        name = f"loss/validation/{kind}"
        values = {f"{name}_average": loss, f"{name}_divergence": loss - self.console.average}
        self.trackers.log(values, x=x, step=position.step, epoch=position.current_epoch)
        self.pause()

    def pause(self) -> None:
        """Exclude the time since the last step from the bar's speed."""
        self.console.unpause()

    def close(self) -> None:
        """Close the bar and the trackers."""
        self.console.close()
        self.trackers.close()


def set_up_logging(config: LogConfig) -> None:
    """Configure logging: to stderr with levels, to stdout without (--console_log_simple), or appended to --console_log_file."""
    handler: logging.Handler = logging.StreamHandler(sys.stdout if config.console_log_simple else sys.stderr)
    if config.console_log_file:
        with disk_errors(config.console_log_file):
            config.console_log_file.parent.mkdir(parents=True, exist_ok=True)
            handler = logging.FileHandler(config.console_log_file, encoding="utf-8")
            logging.getLogger("flux_train_network").handlers[:] = [handler]  # the logger of errors.warn
    logging.basicConfig(
        level=config.console_log_level or logging.INFO,
        format="%(message)s" if config.console_log_simple else "%(levelname)s %(message)s",
        handlers=[handler],
        force=True,
    )
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # bitsandbytes warns about 4-bit kernels that the trainer does not use

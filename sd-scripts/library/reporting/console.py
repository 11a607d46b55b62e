"""What a training shows in the terminal: kohya's bar, with the description `steps` and the moving average `avr_loss`."""

import sys
from collections import deque
from collections.abc import Iterable
from typing import Self

from tqdm import tqdm

SPEED_WINDOW = 20


class Console:
    """The bar, the average loss over about an epoch, and the speed over the last steps."""

    def __init__(self, step: int, total_steps: int, loss_window: int, losses: Iterable[float] = ()) -> None:
        self._losses: deque[float] = deque(losses, maxlen=max(1, loss_window))  # a resumed training's average goes on
        self._seconds: deque[float] = deque(maxlen=SPEED_WINDOW)
        interval = 0.1 if sys.stderr.isatty() else 2.0  # a log file keeps every line
        self._bar = tqdm(total=total_steps, initial=step, desc="steps", mininterval=interval, miniters=1, smoothing=0.1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
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
        """Begin the bar's own speed anew after something that was no step."""
        self._bar.unpause()

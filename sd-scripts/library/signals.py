"""SIGTERM and SIGINT as a wish to stop: the step in hand is finished, the state saved, and the process exits with 143.

Owns the flag. Whoever works asks it between two pieces of work.
"""

import faulthandler
import signal
from types import FrameType

EXIT_STOPPED = 143


class StopRequested(Exception):
    """Raised between two pieces of work when somebody asked the trainer to stop."""


class StopFlag:
    """Set by the first SIGTERM or SIGINT; a second SIGINT ends the process at once."""

    def __init__(self) -> None:
        self.is_set = False

    def install(self) -> None:
        """Take over SIGTERM and SIGINT of this process, and let SIGUSR1 print what it is doing."""
        signal.signal(signal.SIGTERM, self._handle)
        signal.signal(signal.SIGINT, self._handle)
        faulthandler.register(signal.SIGUSR1, all_threads=True)  # "where are you?": the stacks go to stderr

    def check(self) -> None:
        """Raise StopRequested if a stop was asked for."""
        if self.is_set:
            raise StopRequested

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.is_set and number == signal.SIGINT:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self.is_set = True

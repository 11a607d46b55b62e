"""Stop requests by signal. PyTorch is not imported, so that the handlers are installed before it is."""

import faulthandler
import signal
from types import FrameType


class StopRequested(Exception):
    """Raised by StopFlag.check after a stop request."""


class StopFlag:
    """A flag set by SIGTERM or SIGINT; a second SIGINT ends the process immediately."""

    def __init__(self) -> None:
        self.is_set = False

    def install(self) -> None:
        """Install the handlers of SIGTERM and SIGINT, and print the stacks of all threads to stderr on SIGUSR1."""
        signal.signal(signal.SIGTERM, self._handle)
        signal.signal(signal.SIGINT, self._handle)
        faulthandler.register(signal.SIGUSR1, all_threads=True)

    def check(self) -> None:
        """Raise StopRequested if a stop was requested."""
        if self.is_set:
            raise StopRequested

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.is_set and number == signal.SIGINT:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self.is_set = True

"""Stop requests by signal. PyTorch is not imported, so that the handlers are installed before it is."""

import faulthandler
import os
import signal
from pathlib import Path
from types import FrameType

from fluxgym.contract.files import PRIVATE_FOLDER
from fluxgym.contract.lease import HOLDER_VARIABLE, LEASE, RUN_FOLDER_VARIABLE, has_lost


class StopRequested(Exception):
    """Raised by StopFlag.check after a stop request."""


class Fenced(Exception):
    """Raised by StopFlag.check_lease when another start has taken over the run's folder, so that nothing may be written there."""


class StopFlag:
    """A flag set by SIGTERM or SIGINT; a second SIGINT ends the process immediately. It also checks the lease on the run's folder."""

    def __init__(self) -> None:
        self.is_set = False
        folder, self._holder = os.environ.get(RUN_FOLDER_VARIABLE, ""), os.environ.get(HOLDER_VARIABLE, "")
        self._lease = Path(folder, PRIVATE_FOLDER, LEASE) if folder and self._holder else None

    def check_lease(self) -> None:
        """Raise Fenced if another start has taken over the folder of the run that this process was started for."""
        if self._lease is not None and has_lost(self._lease, self._holder):
            raise Fenced

    def install(self) -> None:
        """Install the handlers of SIGTERM and SIGINT, and print the stacks of all threads to stderr on SIGUSR1."""
        signal.signal(signal.SIGTERM, self._handle)
        signal.signal(signal.SIGINT, self._handle)
        faulthandler.register(signal.SIGUSR1, all_threads=True)

    def check(self) -> None:
        """Raise StopRequested if a stop was requested, and Fenced as check_lease does."""
        self.check_lease()
        if self.is_set:
            raise StopRequested

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.is_set and number == signal.SIGINT:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self.is_set = True

"""The trainer as a process: SIGTERM as a stop request between two steps, and deterministic algorithms."""

import faulthandler
import os
import signal
from types import FrameType

import torch

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


def compute_deterministically() -> None:
    """Forbid kernels whose sums depend on the order of threads; has to come before the first use of the GPU.

    An operation that has no such kernel raises RuntimeError when it is used, and is named in it.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reuses workspaces in varying order otherwise
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False  # picks kernels by timing them

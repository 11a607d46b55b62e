"""The trainer as a process: SIGTERM as a stop request between two steps, and deterministic algorithms."""

import faulthandler
import os
import signal
from types import FrameType

import torch


class StopRequested(Exception):
    """Raised between two pieces of work after a stop request."""


class StopFlag:
    """Set by the first SIGTERM or SIGINT; a second SIGINT ends the process at once."""

    def __init__(self) -> None:
        self.is_set = False

    def install(self) -> None:
        """Handle SIGTERM and SIGINT as stop requests, and print all stacks at SIGUSR1."""
        signal.signal(signal.SIGTERM, self._handle)
        signal.signal(signal.SIGINT, self._handle)
        faulthandler.register(signal.SIGUSR1, all_threads=True)  # to stderr

    def check(self) -> None:
        """Raise StopRequested if a stop was requested."""
        if self.is_set:
            raise StopRequested

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.is_set and number == signal.SIGINT:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self.is_set = True


def compute_deterministically() -> None:
    """Forbid kernels whose sums depend on the order of threads; call it before the first use of the GPU.

    An operation without such a kernel raises RuntimeError naming it when it is used.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reuses workspaces in varying order otherwise
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False  # picks kernels by timing them

"""The trainer's exception for failures that a user can fix, and its warnings."""

import logging
import sys
from collections.abc import Callable

from fluxgym.contract.codes import ReasonCode

OnWarning = Callable[[str], None]  # is called with each warning, such as `warn` or the `append` of a list

_log = logging.getLogger("flux_train_network")
_log.propagate = False


class TrainerError(Exception):
    """A failure that the user can fix: a one-sentence message and a reason code.

    The entry point prints the sentence after `error: `, exits with code 2 and shows no traceback. The code is one of
    bad_input, bad_model, bad_output, nan, disk_full, storage, cuda_oom, ram_oom.
    """

    def __init__(self, message: str, *, reason_code: ReasonCode = ReasonCode.BAD_INPUT) -> None:
        super().__init__(message)
        self.reason_code = reason_code


class CheckpointError(TrainerError):
    """A checkpoint that cannot be used, although another one may be; `checkpoint` is the name of its folder."""

    def __init__(self, message: str, checkpoint: str, *, reason_code: ReasonCode = ReasonCode.BAD_INPUT) -> None:
        super().__init__(message, reason_code=reason_code)
        self.checkpoint = checkpoint


def warn(sentence: str) -> None:
    """Print a warning to stderr, and write it to --console_log_file if that is set (training/reporting.py)."""
    print(f"warning: {sentence}", file=sys.stderr, flush=True)
    if _log.hasHandlers():
        _log.warning(sentence)

"""Shared by all commands: an argument parser that raises TrainerError, number types, and explanations of known failures."""

import argparse
import math
import re
from typing import Any, NoReturn

from fluxgym.contract.codes import ReasonCode
from fluxgym.contract.limits import MAX_RANK
from library.errors import TrainerError
from library.files import FULL, disk_full

MAX_RATE = 1e30  # Prodigy's factors are around 1; a rate far beyond overflows float32
MAX_RATIO = 1e6  # LoRA+'s ratio is around 16; MAX_RATE times this, and times 10 in Adam's first step, is within float32


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that raises TrainerError instead of exiting, and takes every negative number as a value, as Python 3.14's does."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._negative_number_matcher = re.compile(r"-(\.?\d|inf|nan)", re.IGNORECASE)  # earlier ones take -1e-3 for a flag

    def error(self, message: str) -> NoReturn:
        """Raise TrainerError with argparse's message."""
        raise TrainerError(f"{message[0].lower()}{message[1:]}.")


def finite(text: str) -> float:
    """Parse a finite number.

    Raises:
        ValueError: For any other text.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError("it must be a finite number")
    return value


def rank(text: str) -> int:
    """Parse a rank.

    Raises:
        ValueError: Unless the text is a whole number from 0 to MAX_RANK.
    """
    try:
        value = int(text)
    except ValueError:
        value = -1
    if not 0 <= value <= MAX_RANK:
        raise ValueError(f"a rank is a whole number from 0 to {MAX_RANK}")
    return value


def number(text: str) -> float:
    """Parse a finite number, as the `type` of an argument.

    Raises:
        ArgumentTypeError: For any other text.
    """
    try:
        return finite(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is not a finite number") from None


def first_line(error: Exception | str) -> str:
    """Return the first line of an error's text without its full stop, or the kind of an error without a text."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(" .:")


def explain_error(error: Exception) -> tuple[str, ReasonCode] | None:
    """Return a message and a reason code for errors of memory, disk and determinism; None for any other error."""
    text = str(error)
    if type(error).__name__ == "OutOfMemoryError" or "CUDA out of memory" in text:  # PyTorch's class, which is not imported here
        remedy = "close other programs that use it, or start again with a smaller resolution or batch, or more swapped blocks"
        return f"the GPU ran out of memory; {remedy}.", ReasonCode.CUDA_OOM
    if isinstance(error, MemoryError) or "can't allocate memory" in text:
        return "the machine ran out of main memory; close other programs or choose a smaller model.", ReasonCode.RAM_OOM
    if isinstance(error, OSError) and error.errno in FULL:
        full = disk_full(error.filename or "a file")
        return str(full), full.reason_code
    if "does not have a deterministic implementation" in text:
        return f"--deterministic is not possible: {text.split('. ')[0]}.", ReasonCode.BAD_INPUT
    return None

"""The parser of every command here: a mistake is one sentence (TrainerError), and numbers are finite."""

import argparse
import math
from typing import NoReturn

from library.errors import TrainerError


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that raises where argparse would print the usage and exit."""

    def error(self, message: str) -> NoReturn:
        """Raise TrainerError with argparse's message."""
        raise TrainerError(f"{message[0].lower()}{message[1:]}.")


def finite(text: str) -> float:
    """Read a finite number; raises ValueError for anything else."""
    if not math.isfinite(value := float(text)):
        raise ValueError("it must be a finite number")
    return value


def number(text: str) -> float:
    """Read a finite number, as argparse wants it: raises ArgumentTypeError for anything else."""
    try:
        return finite(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is not a finite number") from None

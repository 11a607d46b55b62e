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


def number(text: str) -> float:
    """Read a finite number."""
    value = float(text)
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text} is not a finite number")
    return value

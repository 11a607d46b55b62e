"""Parsers of numbers in flags."""

import argparse
import math

from fluxgym.contract.limits import MAX_RANK


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

"""Pure conversions of setting values: from JSON or a form field to a Python type, and which texts are accepted."""

import math
import re
from decimal import Decimal
from typing import Any

from fluxgym.contract.control_characters import complaint_about
from fluxgym.contract.learning import LEAST

MAX_TEXT = 20_000
MAX_SHOWN = 40
TRUE, FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off")
RATE = re.compile(r"[+]?((0|[1-9]\d*)(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)  # refuses 0001, which may be 0,001 with its comma lost
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)  # float() would also take "1_0" and "١"
GROUPED = re.compile(r"[+-]?[1-9]\d{0,2}([.,'’ \u00a0\u202f]\d{3})+", re.ASCII)  # thousands separators: 1.000, 10,000 or 1 000, by language
DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+([eE][+-]?\d+)?", re.ASCII)
MIN_RATE, MAX_RATE = LEAST["learning_rate"], 10


def is_text(value: str) -> bool:
    """Return True if a text can be written to every file and command line: no lone surrogate, no NUL, at most MAX_TEXT characters."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return len(value) <= MAX_TEXT and "\0" not in value


def unwritable(text: str) -> str:
    """Return why a text cannot be a setting, as the end of a sentence; "" if it can."""
    if len(text) > MAX_TEXT:
        return f"is too long: it has {len(text):,} characters, and at most {MAX_TEXT:,} are possible."
    if not is_text(text):
        return "holds a character that files cannot hold."
    complaint = complaint_about(text)
    return complaint and f"{complaint}."


def short(value: Any) -> str:
    """Return a value as a text of at most MAX_SHOWN characters, for an error message."""
    text = str(value)
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…"


def to_number(value: Any) -> float:
    """Return a number or numeric text as a float.

    Raises:
        ValueError: For anything else, NaN and infinity.
    """
    try:
        number = float(value) if not isinstance(value, str) or NUMBER.fullmatch(value.strip()) else math.nan
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if isinstance(value, bool) or not math.isfinite(number):
        raise ValueError(f"must be a number, not “{short(value)}”.{number_hint(str(value))}")
    return number


def number_hint(text: str) -> str:
    """Return how to rewrite a number with a decimal comma or thousands separators, such as 3,5 or 1.000; "" for any other text."""
    plain = text.strip()
    if GROUPED.fullmatch(plain):
        return f" Write it without separators: {re.sub(r'[^0-9+-]', '', plain)}."
    return decimal_hint(plain)


def integer_hint(text: str) -> str:
    """Return the hint of number_hint for a whole number: only about thousands separators."""
    return number_hint(text) if GROUPED.fullmatch(text.strip()) else ""


def decimal_hint(text: str) -> str:
    """Return the hint of number_hint for a number that is never large, such as a learning rate: its comma is always a decimal comma."""
    plain = text.strip()
    if not DECIMAL_COMMA.fullmatch(plain):
        return ""
    number = re.sub(r"^([+-]?)0+(?=\d)", r"\1", plain).replace(",", ".")
    return f" Use a point: {number}."


def to_integer(value: Any) -> int:
    """Return a whole number, also from a text (all digits are kept) or from a float without a fraction.

    "1.000" is refused: it means one thousand in many languages, and float() would read it as 1.

    Raises:
        ValueError: For anything else.
    """
    if isinstance(value, str) and (GROUPED.fullmatch(value.strip()) or DECIMAL_COMMA.fullmatch(value.strip())):
        raise ValueError(f"must be a whole number, not “{short(value)}”.{integer_hint(value)}")
    number = to_number(value)
    has_digits_only = isinstance(value, str) and "e" not in value.lower()  # Decimal refuses a huge exponent
    exact = Decimal(value.strip()) if has_digits_only else value if isinstance(value, int) else number
    if exact != int(exact):
        raise ValueError(f"must be a whole number, not “{short(value)}”.")
    return int(exact)


def to_switch(value: Any) -> bool:
    """Return true or false, also from a text such as "yes" or "0".

    Raises:
        ValueError: For anything else.
    """
    if isinstance(value, bool):
        return value
    text = str(value).strip().lower()
    if text not in (*TRUE, *FALSE):
        raise ValueError(f"must be true or false, not “{short(value)}”.")
    return text in TRUE


def is_rate(text: str) -> bool:
    """Return True if a text is a learning rate in a notation that the trainer reads; float() would also take "1_0" and "١"."""
    return RATE.fullmatch(text) is not None and MIN_RATE <= float(text) <= MAX_RATE

"""The order in which image names are shown: cat-2 before cat-10. The trainer has its own order, by characters."""

import re

NUMBER = re.compile(r"([0-9]+)")


def natural_key(name: str) -> tuple[list[tuple[int, str]], str]:
    """Return the key that sorts names by their words, without regard to case, and by the value of the numbers in them."""
    parts = NUMBER.split(name.casefold())
    return [_number(part) if index % 2 else (0, part) for index, part in enumerate(parts)], name


def _number(digits: str) -> tuple[int, str]:
    value = digits.lstrip("0")
    return len(value), value

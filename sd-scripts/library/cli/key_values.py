"""Parses the `key=value` pairs of --optimizer_args and --lr_scheduler_args, whose values are Python literals."""

import ast
from collections.abc import Iterable

from library.errors import TrainerError
from library.limits import MAX_OPTIMIZER_NUMBER
from library.network_options import KeyValues


def parse_key_values(flag: str, pairs: Iterable[str]) -> KeyValues:
    """Parse `key=value` pairs whose values are Python literals.

    Raises:
        TrainerError: Naming the flag and the first pair that is malformed or has a number beyond MAX_OPTIMIZER_NUMBER.
    """
    texts, values = tuple(pairs), {}
    for pair in texts:
        key, equals, value = pair.partition("=")
        try:
            if not (key.isidentifier() and equals):
                raise ValueError
            values[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            raise TrainerError(f"{flag} {pair} cannot be read; write key=value with a number, True, False or a quoted text.") from None
        if not _is_in_range(values[key]):
            limit = f"{MAX_OPTIMIZER_NUMBER:g}"
            raise TrainerError(f"{flag} {pair} is not supported; a number must be from -{limit} to {limit}.")
    return KeyValues(values=values, texts=texts)


def _is_in_range(value: object) -> bool:
    """Return True if all numbers of a literal are within MAX_OPTIMIZER_NUMBER, so that float32 has them."""
    if isinstance(value, (tuple, list, set)):
        return all(map(_is_in_range, value))
    if isinstance(value, dict):
        return all(map(_is_in_range, value.values()))
    return not isinstance(value, (int, float, complex)) or abs(value) <= MAX_OPTIMIZER_NUMBER

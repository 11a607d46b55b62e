"""The files that the code under test opens."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_lists: list[list[str]] = []


def _note(event: str, args: tuple[object, ...]) -> None:
    if _lists and event == "open" and isinstance(args[0], (str, bytes, os.PathLike)):
        for names in _lists:
            names.append(os.fsdecode(args[0]))


sys.addaudithook(_note)  # a hook cannot be removed; without a list it does nothing


@contextmanager
def opened_files() -> Iterator[list[str]]:
    """Yield a list that gets the path of each file that this process opens meanwhile, as it was opened."""
    names: list[str] = []
    _lists.append(names)
    try:
        yield names
    finally:
        _lists.remove(names)

"""The argument parser that all commands share."""

import argparse
import re
from typing import Any, NoReturn

from fluxgym.contract.command_line import plain_sentence
from library.errors import TrainerError


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that raises TrainerError instead of exiting, and takes every negative number as a value, as Python 3.14's does."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._negative_number_matcher = re.compile(r"-(\.?\d|inf|nan)", re.IGNORECASE)  # earlier ones take -1e-3 for a flag

    def error(self, message: str) -> NoReturn:
        """Raise TrainerError with what argparse's message says, as a sentence that names the flag."""
        raise TrainerError(plain_sentence(message))

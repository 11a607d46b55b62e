"""Parsed trainer arguments for tests: the parser's defaults with changes."""

from argparse import Namespace

from library.cli.flags import build_parser


def trainer_args(**changes: object) -> Namespace:
    """Return the trainer's default arguments with changes."""
    return Namespace(**{**vars(build_parser().parse_args([])), **changes})

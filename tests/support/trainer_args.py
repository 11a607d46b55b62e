"""Parsed trainer arguments for tests: the parser's defaults with changes."""

from argparse import Namespace
from pathlib import Path

from library.cli.flags import build_parser


def trainer_args(**changes: object) -> Namespace:
    """Return the trainer's default arguments with changes."""
    return Namespace(**{**vars(build_parser().parse_args([])), **changes})


def base_model_args(path: Path, **changes: object) -> Namespace:
    """Return the trainer's default arguments for a base model file, with changes."""
    return trainer_args(pretrained_model_name_or_path=str(path), **changes)

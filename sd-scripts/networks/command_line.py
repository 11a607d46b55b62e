"""Helpers of the LoRA commands: running a command, and checks of devices, flags and output paths."""

import sys
from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from library.command_parser import Parser
from library.errors import TrainerError, warn
from library.files import disk_errors


def run_command(parser: Parser, command: Callable[[Namespace], str], argv: list[str]) -> int:
    """Run a command without gradients and print the message that it returns.

    Returns the exit code: 0, or 2 after a TrainerError, whose message goes to stderr.
    """
    try:
        args = parser.parse_args(argv)
        with torch.no_grad():
            print(command(args), flush=True)
    except TrainerError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 2
    return 0


def check_device(flag: str, device: str) -> None:
    """Raise TrainerError naming `flag` if PyTorch cannot use `device` on this machine."""
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise TrainerError(f"{flag} {device} cannot be used here ({str(error).splitlines()[0]}); use cpu.") from None


def warn_ineffective_flags(args: Namespace, without_effect: Mapping[str, str]) -> None:
    """Print a warning for each given flag that has no effect; `without_effect` maps flag names to reasons."""
    for name, reason in without_effect.items():
        if getattr(args, name):
            warn(f"--{name} has no effect: {reason}")


def output_path(path: str) -> Path:
    """Return the path of the file to write, and create its folder.

    Raises:
        TrainerError: If the extension is not .safetensors or .sft, if `path` is a folder, or if the folder cannot be created.
    """
    target = Path(path)
    if target.suffix not in (".safetensors", ".sft"):
        raise TrainerError(f"{path} must end in .safetensors; other formats are not written.")
    if target.is_dir():
        raise TrainerError(f"{target} is a folder; name a file.")
    with disk_errors(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
    return target

"""What the small commands beside the trainer share: one sentence for a mistake, precisions by kohya's names, a LoRA file written whole."""

import sys
from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from library.errors import TrainerError, warn
from library.files import disk_errors, save_tensors
from library.flags.parser import Parser
from library.state.metadata import tensor_hashes
from networks.lora_keys import to_diffusers

PRECISIONS = {
    "float": torch.float32, "float32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16, "fp8": torch.float8_e4m3fn,
    "fp8_e4m3fn": torch.float8_e4m3fn, "fp8_e5m2": torch.float8_e5m2,
}  # fmt: skip


def run(parser: Parser, command: Callable[[Namespace], str], argv: list[str]) -> int:
    """Run a command on a command line and print the sentence that it returns; 2 with one sentence for a mistake, 0 otherwise."""
    try:
        args = parser.parse_args(argv)
        with torch.no_grad():
            print(command(args), flush=True)
    except TrainerError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 2
    return 0


def check_device(flag: str, device: str) -> None:
    """Raise TrainerError when there is no such device on this machine."""
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise TrainerError(f"{flag} {device} cannot be used here ({str(error).splitlines()[0]}); use cpu.") from None


def warn_of(args: Namespace, without_effect: Mapping[str, str]) -> None:
    """Print one line for each flag that was given and cannot matter here."""
    for name, reason in without_effect.items():
        if getattr(args, name):
            warn(f"--{name} has no effect: {reason}")


def write_lora(
    tensors: Mapping[str, Tensor], path: str, metadata: Mapping[str, str], *, diffusers: bool, dtype: torch.dtype | None
) -> None:
    """Write kohya's tensors as a LoRA file of either form, in `dtype` (None keeps theirs), with hashes of what is in it.

    Raises TrainerError when its folder is missing or the disk is full.
    """
    target = target_of(path)
    named = to_diffusers(tensors) if diffusers else tensors
    stored = {name: (tensor if dtype is None else tensor.to(dtype)).contiguous() for name, tensor in named.items()}
    save_tensors(stored, target, {**metadata, **tensor_hashes(stored)})


def target_of(path: str) -> Path:
    """Return where to write; raises TrainerError when the name is no .safetensors file's or the folder cannot be made."""
    target = Path(path)
    if target.suffix not in (".safetensors", ".sft"):
        raise TrainerError(f"{path} must end in .safetensors; other formats are not written.")
    if target.is_dir():
        raise TrainerError(f"{target} is a folder; name a file.")
    with disk_errors(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
    return target

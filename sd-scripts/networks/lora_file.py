"""Read and write LoRA files; helpers of the LoRA commands."""

import hashlib
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from library.command import Parser
from library.errors import TrainerError, warn
from library.files import disk_errors, save_tensors
from library.weights.safetensors_file import WeightFile
from networks.lora_keys import by_module, is_diffusers, to_diffusers, to_kohya

PRECISIONS = {
    "float": torch.float32, "float32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16, "fp8": torch.float8_e4m3fn,
    "fp8_e4m3fn": torch.float8_e4m3fn, "fp8_e5m2": torch.float8_e5m2,
}  # fmt: skip


def run(parser: Parser, command: Callable[[Namespace], str], argv: list[str]) -> int:
    """Run a command and print the sentence that it returns; return 0, or 2 after one sentence for a user's mistake."""
    try:
        args = parser.parse_args(argv)
        with torch.no_grad():
            print(command(args), flush=True)
    except TrainerError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 2
    return 0


def check_device(flag: str, device: str) -> None:
    """Raise TrainerError if this machine has no such device."""
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise TrainerError(f"{flag} {device} cannot be used here ({str(error).splitlines()[0]}); use cpu.") from None


def warn_of(args: Namespace, without_effect: Mapping[str, str]) -> None:
    """Warn of each flag that is given and has no effect here."""
    for name, reason in without_effect.items():
        if getattr(args, name):
            warn(f"--{name} has no effect: {reason}")


def tensor_hashes(weights: Mapping[str, Tensor]) -> dict[str, str]:
    """Return sshs_model_hash and sshs_legacy_hash, by which programs recognize a LoRA whatever its other metadata."""
    tensors = hashlib.sha256(save(dict(weights))[8:]).hexdigest()
    return {"sshs_model_hash": tensors, "sshs_legacy_hash": tensors[:8]}


def write_lora(
    tensors: Mapping[str, Tensor], path: str, metadata: Mapping[str, str], *, diffusers: bool, dtype: torch.dtype | None
) -> None:
    """Write kohya's tensors as a LoRA file of either form, in `dtype` (None keeps theirs), with hashes of its tensors.

    Raises TrainerError if the folder cannot be created or the disk is full.
    """
    target = target_of(path)
    named = to_diffusers(tensors) if diffusers else tensors
    stored = {name: (tensor if dtype is None else tensor.to(dtype)).contiguous() for name, tensor in named.items()}
    save_tensors(stored, target, {**metadata, **tensor_hashes(stored)})


def target_of(path: str) -> Path:
    """Return the file to write and create its folder; raises TrainerError for another extension or if that fails."""
    target = Path(path)
    if target.suffix not in (".safetensors", ".sft"):
        raise TrainerError(f"{path} must end in .safetensors; other formats are not written.")
    if target.is_dir():
        raise TrainerError(f"{target} is a folder; name a file.")
    with disk_errors(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
    return target


@dataclass(frozen=True)
class LoRAPair:
    """One module, which adds scale * up @ down to its frozen weight. down (R, in), up (out, R)."""

    name: str
    down: Tensor
    up: Tensor
    scale: float

    @property
    def rank(self) -> int:
        """R."""
        return self.down.shape[0]

    @property
    def alpha(self) -> float:
        """kohya's number: scale times rank."""
        return self.scale * self.rank

    def delta(self) -> Tensor:
        """Return what is added to the frozen weight: (out, in), float32."""
        return (self.up.float() @ self.down.float()) * self.scale


@dataclass(frozen=True)
class LoRAFile:
    """A LoRA in kohya's names, with its metadata, and whether its file has diffusers' names."""

    path: Path
    tensors: dict[str, Tensor]
    metadata: dict[str, str]
    had_diffusers_names: bool

    def pairs(self) -> Iterator[LoRAPair]:
        """Yield its modules."""
        for name, module in by_module(self.tensors).items():
            down, up = module["lora_down.weight"], module["lora_up.weight"]
            alpha = float(module["alpha"]) if "alpha" in module else float(down.shape[0])
            yield LoRAPair(name, down, up, alpha / down.shape[0])

    def ranks(self) -> dict[str, tuple[int, float]]:
        """Return (rank, alpha) by module."""
        return {pair.name: (pair.rank, pair.alpha) for pair in self.pairs()}


def read_lora(path: str | Path, what: str) -> LoRAFile:
    """Read a LoRA in kohya's or diffusers' form, called `what` in messages.

    Raises TrainerError (bad_model) if the file is missing, damaged, or not a LoRA.
    """
    file = WeightFile(path, what)
    tensors = {name: file.tensor(name) for name in file.names}
    if odd := next((name for name, tensor in tensors.items() if not tensor.float().isfinite().all()), None):
        raise file.damaged(f"{odd} contains NaN or infinity")
    renamed = is_diffusers(tensors)
    try:
        tensors = to_kohya(tensors) if renamed else tensors
        modules = by_module(tensors)
    except TrainerError as error:
        raise TrainerError(f"{what} {path}: {error}", reason_code=error.reason_code) from None
    if not modules:
        raise file.damaged("it contains no module")
    return LoRAFile(Path(path), tensors, dict(file.metadata), renamed)

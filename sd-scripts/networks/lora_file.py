"""LoRA files in kohya's and diffusers' format: reading, writing and hashing."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from fluxgym.contract.codes import ReasonCode
from library.errors import TrainerError
from library.weights.safetensors_file import WeightFile, save_tensors
from networks.command_line import output_path
from networks.lora_keys import KeyForm, by_module, check_layers, form_of, to_diffusers, to_kohya
from networks.lora_kinds import other_kind
from networks.low_rank import ALPHA, DOWN, UP

PRECISIONS = {
    "float": torch.float32, "float32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16, "fp8": torch.float8_e4m3fn,
    "fp8_e4m3fn": torch.float8_e4m3fn, "fp8_e5m2": torch.float8_e5m2,
}  # fmt: skip


def tensor_hashes(weights: Mapping[str, Tensor]) -> dict[str, str]:
    """Return sshs_model_hash and sshs_legacy_hash, which identify a LoRA by its tensors only."""
    tensors = hashlib.sha256(save(dict(weights))[8:]).hexdigest()
    return {"sshs_model_hash": tensors, "sshs_legacy_hash": tensors[:8]}


def write_lora(
    tensors: Mapping[str, Tensor], path: str, metadata: Mapping[str, str], *, diffusers: bool, dtype: torch.dtype | None
) -> None:
    """Write tensors with kohya's names as a LoRA file, and add the hashes of the tensors to its metadata.

    `diffusers` selects diffusers' names instead of kohya's; a `dtype` of None keeps the dtype of each tensor.

    Raises:
        TrainerError: If a name is not kohya's, the folder cannot be created or the disk is full.
    """
    check_layers(tensors)
    target = output_path(path)
    named = to_diffusers(tensors) if diffusers else tensors
    stored = {name: (tensor if dtype is None else tensor.to(dtype)).contiguous() for name, tensor in named.items()}
    save_tensors(stored, target, {**metadata, **tensor_hashes(stored)})


@dataclass(frozen=True)
class LoRAPair:
    """One module, which adds scale * up @ down to its frozen weight; down is (R, in), up is (out, R)."""

    name: str
    down: Tensor
    up: Tensor
    scale: float

    @property
    def rank(self) -> int:
        """The rank R."""
        return self.down.shape[0]

    @property
    def alpha(self) -> float:
        """kohya's alpha: scale * rank."""
        return self.scale * self.rank

    def delta(self) -> Tensor:
        """Return the change of the frozen weight: (out, in), float32."""
        return (self.up.float() @ self.down.float()) * self.scale


@dataclass(frozen=True)
class LoRAFile:
    """The tensors of a LoRA file by kohya's names, its metadata, and whose keys the file has."""

    path: Path
    tensors: dict[str, Tensor]
    metadata: dict[str, str]
    form: KeyForm

    def pairs(self) -> Iterator[LoRAPair]:
        """Yield the modules of the file."""
        for name, module in by_module(self.tensors).items():
            down, up = module[DOWN], module[UP]
            alpha = float(module[ALPHA]) if ALPHA in module else float(down.shape[0])
            yield LoRAPair(name, down, up, alpha / down.shape[0])

    def ranks(self) -> dict[str, tuple[int, float]]:
        """Return (rank, alpha) by module name."""
        return {pair.name: (pair.rank, pair.alpha) for pair in self.pairs()}


def read_lora(path: str | Path, what: str) -> LoRAFile:
    """Read a LoRA file with keys of any form of KeyForm; error messages call it `what`.

    Raises:
        TrainerError (bad_model): If the file is missing, damaged, or not a LoRA.
    """
    file = WeightFile(path, what)
    if (other := other_kind(file.names)) is not None:
        raise TrainerError(f"{what} {path} is {other}.", reason_code=ReasonCode.BAD_MODEL)
    tensors = {name: file.tensor(name) for name in file.names}
    if invalid := next((name for name, tensor in tensors.items() if not tensor.float().isfinite().all()), None):
        raise file.damaged(f"{invalid} contains NaN or infinity")
    try:
        form, tensors = form_of(tensors), to_kohya(tensors)
        modules = by_module(tensors)
    except TrainerError as error:
        raise TrainerError(f"{what} {path}: {error}", reason_code=error.reason_code) from None
    if not modules:
        raise file.damaged("it contains no module")
    return LoRAFile(Path(path), tensors, dict(file.metadata), form)

"""The frozen transformer of a file, loaded as a training does, for tests."""

from collections.abc import Sequence
from pathlib import Path

import torch

from library.config import BaseWeights, ModelConfig, PlacementConfig
from library.models.flux1.family import open_flux1
from library.models.flux1.transformer import Flux
from library.training.base_model import BaseModel

CPU = torch.device("cpu")


def load_transformer(
    path: Path, device: torch.device = CPU, dtype: torch.dtype = torch.float32, *, lora_files: Sequence[Path] = (), mapped: bool = True,
    **placement: object,
) -> Flux:  # fmt: skip
    """Load a transformer with LoRA files merged in, placed by these fields of PlacementConfig."""
    files = ModelConfig(pretrained_model_name_or_path=str(path), ae="", clip_l="", t5xxl="", disable_mmap_load_safetensors=not mapped)
    base_weights = [BaseWeights(path=str(file)) for file in lora_files]
    return BaseModel(open_flux1(files), files, base_weights, device=device, dtype=dtype).load_transformer(PlacementConfig(**placement))

"""Merges LoRAs into frozen models in memory before the training (--base_weights).

flux_merge_lora.py merges LoRAs into a model file.
"""

from collections.abc import Iterable, Mapping

import torch
from torch import nn

from fluxgym.contract.codes import ReasonCode
from library.config import BaseWeights
from library.errors import TrainerError
from library.models.flux1.layer_names import LAYER_NAMES
from library.models.layer_names import kohya_name
from library.placement.quantization import QuantizedLinear
from library.weights.model_files import fingerprint
from library.weights.safetensors_file import WeightFile
from networks.lora_file import LoRAPair, read_lora
from networks.lora_keys import prefixes_of


def merge_base_weights(base_weights: Iterable[BaseWeights], models: Mapping[str, nn.Module]) -> None:
    """Merge LoRA files, each times its multiplier, into `models`, which maps kohya's prefixes to models.

    Modules of other prefixes are ignored. A quantized weight is dequantized, changed and quantized again.

    Raises:
        TrainerError: If a file cannot be read, or a model does not have one of its modules.
    """
    linears = {prefix: linears_of(model, prefix) for prefix, model in models.items()}
    for file in base_weights:
        for pair in read_lora(file.path, "--base_weights").pairs():
            prefix = prefix_of(pair.name)
            if prefix in models:
                merge_into(layer_for(linears[prefix], pair, f"--base_weights {file.path}"), pair, file.multiplier)


def text_identity(base_weights: Iterable[BaseWeights]) -> tuple[str, ...]:
    """Return the fingerprint and multiplier of each file that changes a text encoder; cached captions depend on them."""
    return tuple(f"{fingerprint(file.path)} {file.multiplier}" for file in base_weights if _changes_text_encoder(file.path))


def prefix_of(name: str) -> str:
    """Return kohya's prefix of a module name.

    Raises:
        TrainerError: For a module of another model.
    """
    if (prefix := LAYER_NAMES.prefix_of(name)) is None:
        raise TrainerError(f"The LoRA's module {name} belongs to no part of FLUX.", reason_code=ReasonCode.BAD_MODEL)
    return prefix


def _changes_text_encoder(path: str) -> bool:
    return bool(prefixes_of(WeightFile(path, "--base_weights").names) - {LAYER_NAMES.prefix})


def linears_of(model: nn.Module, prefix: str) -> dict[str, nn.Linear]:
    """Return the Linears of a model by kohya's module names."""
    return {kohya_name(prefix, path): module for path, module in model.named_modules() if isinstance(module, nn.Linear)}


def layer_for(linears: Mapping[str, nn.Linear], pair: LoRAPair, source: str) -> nn.Linear:
    """Return the layer of a LoRA module.

    Raises:
        TrainerError: If the model has no such layer; the message names the file `source`.
    """
    linear = linears.get(pair.name)
    if linear is None or (linear.out_features, linear.in_features) != (pair.up.shape[0], pair.down.shape[1]):
        raise TrainerError(f"{source} was not made for this model: the model has no layer {pair.name}.", reason_code=ReasonCode.BAD_MODEL)
    return linear


@torch.no_grad()
def merge_into(linear: nn.Linear, pair: LoRAPair, multiplier: float) -> None:
    """Add a LoRA module times `multiplier` to a frozen weight; a quantized weight is dequantized, changed and quantized again."""
    weight = linear.dequantized_weight() if isinstance(linear, QuantizedLinear) else linear.weight.data
    merged = (weight.float() + multiplier * pair.delta().to(weight.device)).to(weight.dtype)
    if isinstance(linear, QuantizedLinear):
        linear.store_weight(merged, None)
    else:
        weight.copy_(merged)

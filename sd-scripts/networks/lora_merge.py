"""`--base_weights`: LoRAs that become part of the frozen models before a new one is trained on top.

Owns the adding in memory. The same into a file is flux_merge_lora.py's.
"""

from argparse import Namespace
from collections.abc import Mapping

import torch
from torch import nn

from fluxgym.contract.codes import ReasonCode
from library.errors import TrainerError
from library.models.flux1.layer_names import LAYER_NAMES
from library.models.layer_names import kohya_name
from library.placement.quantization import QuantizedLinear
from library.weights.model_files import fingerprint
from library.weights.safetensors_file import WeightFile
from networks.lora_file import LoRAPair, read_lora
from networks.lora_keys import is_diffusers


def merge_base_weights(args: Namespace, models: Mapping[str, nn.Module]) -> None:
    """Add every --base_weights file, times its --base_weights_multiplier (1 where there is none), to the models by prefix.

    Modules of prefixes that are not among `models` are left to the call that has them. A quantized weight is widened, added to and quantized
    again. Raises TrainerError for a file that cannot be read, or a module that the model has not.
    """
    linears = {prefix: linears_of(model, prefix) for prefix, model in models.items()}
    for path, multiplier in files_of(args):
        for pair in read_lora(path, "--base_weights").pairs():
            prefix = prefix_of(pair.name)
            if prefix in models:
                merge_into(layer_for(linears[prefix], pair, f"--base_weights {path}"), pair, multiplier)


def files_of(args: Namespace) -> list[tuple[str, float]]:
    """Return the files with their multipliers; raises TrainerError when there are more multipliers than files."""
    paths, multipliers = list(args.base_weights or []), list(args.base_weights_multiplier or [])
    if len(multipliers) > len(paths):
        raise TrainerError(f"--base_weights_multiplier has {len(multipliers)} values for {len(paths)} files of --base_weights.")
    return list(zip(paths, multipliers + [1.0] * (len(paths) - len(multipliers)), strict=True))


def text_identity(args: Namespace) -> tuple[str, ...]:
    """Return what tells encoded captions apart that were made with other --base_weights: nothing for those that leave the encoders alone."""
    return tuple(f"{fingerprint(path)} {multiplier}" for path, multiplier in files_of(args) if _touches_text(path))


def prefix_of(name: str) -> str:
    """Return kohya's prefix of a module name; raises TrainerError for a module of another model."""
    if (prefix := LAYER_NAMES.prefix_of(name)) is None:
        raise TrainerError(f"the LoRA's module {name} belongs to no part of FLUX.", reason_code=ReasonCode.BAD_MODEL)
    return prefix


def _touches_text(path: str) -> bool:
    names = WeightFile(path, "--base_weights").names
    text = tuple(text.diffusers if is_diffusers(names) else text.prefix for text in LAYER_NAMES.text)
    return any(name.startswith(text) for name in names)


def linears_of(model: nn.Module, prefix: str) -> dict[str, nn.Linear]:
    """Return a model's Linears by kohya's names."""
    return {kohya_name(prefix, path): module for path, module in model.named_modules() if isinstance(module, nn.Linear)}


def layer_for(linears: Mapping[str, nn.Linear], pair: LoRAPair, source: str) -> nn.Linear:
    """Return the layer that a module of the file `source` belongs to; raises TrainerError when the model has none of its name and size."""
    linear = linears.get(pair.name)
    if linear is None or (linear.out_features, linear.in_features) != (pair.up.shape[0], pair.down.shape[1]):
        raise TrainerError(f"{source} was not made for this model: its {pair.name} has no place in it.", reason_code=ReasonCode.BAD_MODEL)
    return linear


@torch.no_grad()
def merge_into(linear: nn.Linear, pair: LoRAPair, multiplier: float) -> None:
    """Add a module, times `multiplier`, to a frozen layer's weight; a quantized one is widened, added to and rounded a second time."""
    weight = linear.dequantized_weight() if isinstance(linear, QuantizedLinear) else linear.weight.data
    merged = (weight.float() + multiplier * pair.delta().to(weight.device)).to(weight.dtype)
    if isinstance(linear, QuantizedLinear):
        linear.store_weight(merged, None)
    else:
        weight.copy_(merged)

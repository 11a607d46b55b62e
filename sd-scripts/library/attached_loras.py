"""LoRA files put on frozen layers for drawing: any number of them, each with its strength, beside the weights or merged into them.

Training has modules of its own in networks/. Names are kohya's; `kohya_keys` is the one place where other names are turned into them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from library.errors import TrainerError
from library.quantization import QuantizedLinear
from library.weights import open_weights

PREFIXES = {"lora_unet": "transformer", "lora_te1": "CLIP-L", "lora_te3": "T5"}
LEAVES = ("lora_down.weight", "lora_up.weight", "alpha")


@dataclass(frozen=True)
class Pair:
    """One layer's LoRA: down (rank, in), up (out, rank), and what their product is multiplied with."""

    down: Tensor
    up: Tensor
    scale: float


@dataclass(frozen=True)
class LoRAFile:
    """A file's pairs by kohya's names of the layers."""

    path: str
    pairs: Mapping[str, Pair]

    def put_on(self, model: nn.Module, prefix: str, *, device: torch.device, merge: bool) -> None:
        """Change a model's layers, which compute on `device`, by this file; raises TrainerError naming the first layer that it has and the model lacks.

        `prefix` is one of PREFIXES. Merged, nothing is computed beside the weights, which quantised ones cannot take.
        """
        layers = {f"{prefix}_{path.replace('.', '_')}": each for path, each in model.named_modules() if isinstance(each, nn.Linear)}
        for name, pair in self.pairs.items():
            if not name.startswith(f"{prefix}_"):
                continue
            layer = layers.get(name)
            if layer is None or (pair.up.shape[0], pair.down.shape[1]) != (layer.out_features, layer.in_features):
                what = "has no layer for" if layer is None else f"has a layer of another size for {list(pair.down.shape)} in"
                raise TrainerError(f"{self.path} does not fit this {PREFIXES[prefix]}: it {what} {name}.", reason_code="bad_model")
            (_merge if merge else _attach)(layer, pair, device)


def read_lora(path: str, multiplier: float) -> LoRAFile:
    """Read a LoRA file of kohya's names; raises TrainerError when it is damaged, no LoRA, or of a kind that is not known here."""
    weights = kohya_keys(open_weights(path, "the LoRA"), path)
    pairs = {}
    for name in dict.fromkeys(key.split(".", 1)[0] for key in weights):
        try:
            down, up = weights[f"{name}.lora_down.weight"], weights[f"{name}.lora_up.weight"]
        except KeyError as error:
            raise TrainerError(f"{path} is no whole LoRA: it lacks the tensor {error}.", reason_code="bad_model") from None
        alpha = float(weights.get(f"{name}.alpha", torch.tensor(float(len(down)))))
        pairs[name] = Pair(down, up, multiplier * alpha / len(down))
    return LoRAFile(path, pairs)


def kohya_keys(weights: Mapping[str, Tensor], path: str) -> Mapping[str, Tensor]:
    """Return the tensors under kohya's names; raises TrainerError for a file of other names or of another kind than LoRA."""
    odd = next((key for key in weights if not key.startswith(tuple(PREFIXES)) or key.split(".", 1)[1] not in LEAVES), None)
    if odd is not None or not weights:
        raise TrainerError(f"{path} is no LoRA with kohya's names: it holds {odd or 'nothing'}.", reason_code="bad_model")
    return weights


def _attach(layer: nn.Linear, pair: Pair, device: torch.device) -> None:
    frozen = layer.forward
    down, up = pair.down.to(device, torch.float32), pair.up.to(device, torch.float32)

    def forward(x: Tensor) -> Tensor:
        out = frozen(x)
        dtype = torch.get_autocast_dtype(x.device.type) if torch.is_autocast_enabled(x.device.type) else x.dtype
        delta = F.linear(F.linear(x.to(dtype), down.to(dtype)), up.to(dtype))
        return out + (delta * pair.scale).to(out.dtype)

    layer.forward = forward


def _merge(layer: nn.Linear, pair: Pair, device: torch.device) -> None:
    if isinstance(layer, QuantizedLinear):
        raise TrainerError("--merge_lora_weights needs weights that are not quantised; leave it away, or choose --flux_dtype bfloat16.")
    change = pair.up.to(device, torch.float32) @ pair.down.to(device, torch.float32) * pair.scale
    layer.weight.data.copy_(layer.weight.to(device, torch.float32) + change)

"""LoRA for FLUX and CLIP-L: the modules, where they are injected, and kohya's names for them.

A LoRA adds alpha / rank * up(down(x)) to a frozen Linear. Down begins Kaiming-uniform (a = sqrt 5), up at zero, so that an untrained network
changes nothing. Which Linears take part: all of the double and single blocks (modulations too), and all of CLIP-L's layers.
"""

import math
import re
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from library.errors import TrainerError
from library.randomness import generator
from networks.lora_math import add_lora

FLUX_PREFIX, CLIP_PREFIX = "lora_unet", "lora_te1"
TRAIN_BLOCKS = ("all", "double", "single")


class LoRAModule(nn.Module):
    """The trainable pair beside one frozen Linear."""

    def __init__(self, name: str, linear: nn.Linear, rank: int, alpha: float, seed: int) -> None:
        super().__init__()
        self.name, self.multiplier = name, 1.0
        self.scale = alpha / rank
        self.lora_down = nn.Linear(linear.in_features, rank, bias=False)
        self.lora_up = nn.Linear(rank, linear.out_features, bias=False)
        self.register_buffer("alpha", torch.tensor(float(alpha)))
        nn.init.kaiming_uniform_(self.lora_down.weight, a=math.sqrt(5), generator=generator(seed, "lora", name))
        nn.init.zeros_(self.lora_up.weight)
        self._frozen_forward = linear.forward

    def forward(self, x: Tensor) -> Tensor:
        """The frozen layer's output plus the LoRA's: (..., in) -> (..., out)."""
        out = self._frozen_forward(x)
        if self.multiplier == 0:
            return out
        return add_lora(out, x, self.lora_down.weight, self.lora_up.weight, self.multiplier * self.scale)


class LoRANetwork(nn.Module):
    """All LoRA modules of a training, by kohya's names."""

    def __init__(self, modules: list[LoRAModule]) -> None:
        super().__init__()
        self.loras = modules
        for module in modules:
            self.add_module(module.name, module)

    def parameters_of(self, prefix: str) -> list[nn.Parameter]:
        """The trainable tensors of one part, FLUX_PREFIX or CLIP_PREFIX."""
        return [parameter for lora in self.loras if lora.name.startswith(prefix) for parameter in lora.parameters()]

    def weights(self, dtype: torch.dtype | None = None) -> dict[str, Tensor]:
        """Return kohya's tensors (`….lora_down.weight`, `….lora_up.weight`, `….alpha`), copied to the host, in `dtype`."""
        return {
            name: tensor.detach().to("cpu", dtype or tensor.dtype, copy=True).contiguous() for name, tensor in self.state_dict().items()
        }

    def load(self, weights: Mapping[str, Tensor], source: str) -> None:
        """Take over saved weights; raises TrainerError naming `source` and the first name or shape that does not fit."""
        own = self.state_dict()
        if set(own) != set(weights):
            odd = sorted(set(own) ^ set(weights))[0]
            raise TrainerError(f"{source} does not fit this network: {odd} is in only one of them.", reason_code="bad_model")
        for name, tensor in weights.items():
            if own[name].shape != tensor.shape:
                raise TrainerError(
                    f"{source} does not fit this network: {name} is {list(tensor.shape)}, not {list(own[name].shape)}.",
                    reason_code="bad_model",
                )
        self.load_state_dict(dict(weights))

    def set_multiplier(self, multiplier: float) -> None:
        """Scale the whole network's effect; 0 is the frozen model alone."""
        for lora in self.loras:
            lora.multiplier = multiplier


def create_network(
    flux: nn.Module, clip: nn.Module | None, *, rank: int, alpha: float, seed: int, train_blocks: str = "all"
) -> LoRANetwork:
    """Make a LoRA for every Linear of FLUX's blocks and, if `clip` is given, of CLIP-L's layers, and put it in the Linear's place.

    Raises TrainerError for a train_blocks that is not one of TRAIN_BLOCKS.
    """
    if train_blocks not in TRAIN_BLOCKS:
        raise TrainerError(f"--network_args train_blocks={train_blocks} is not known; use one of {', '.join(TRAIN_BLOCKS)}.")
    kinds = "double|single" if train_blocks == "all" else train_blocks
    found = [(FLUX_PREFIX, *pair) for pair in _linears(flux, rf"({kinds})_blocks\.\d+\.")]
    if clip is not None:
        found += [(CLIP_PREFIX, *pair) for pair in _linears(clip, r"text_model\.encoder\.layers\.\d+\.")]
    modules = [LoRAModule(f"{prefix}_{path.replace('.', '_')}", linear, rank, alpha, seed) for prefix, path, linear in found]
    for module, (_, _, linear) in zip(modules, found, strict=True):
        module.to(linear.weight.device)
        linear.forward = module.forward
    return LoRANetwork(modules)


def _linears(model: nn.Module, pattern: str) -> Iterator[tuple[str, nn.Linear]]:
    for path, module in model.named_modules():
        if isinstance(module, nn.Linear) and re.match(pattern, path):
            yield path, module


def parse_network_args(pairs: list[str] | None) -> dict[str, str]:
    """Read `--network_args key=value …`; raises TrainerError for a key that this network does not know."""
    known = {"train_blocks"}
    parsed = dict(pair.split("=", 1) for pair in pairs or [] if "=" in pair)
    odd = [pair for pair in pairs or [] if pair.split("=", 1)[0] not in known or "=" not in pair]
    if odd:
        raise TrainerError(f"--network_args {odd[0]} is not supported; known: {', '.join(sorted(known))}.")
    return parsed

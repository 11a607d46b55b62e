"""LoRA for FLUX, CLIP-L and T5: which Linears take part, with which rank, and kohya's names for them.

Without options these are all Linears of the double and single blocks (modulations too), and all of CLIP-L's layers. What a module computes
is lora_module.py's, what the options mean in words network_args.py's.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from library.models.flux1.layer_names import CLIP_PREFIX, FLUX_PREFIX, LAYER_NAMES, T5_PREFIX
from library.models.layer_names import kohya_name
from networks.base import LoRANetwork
from networks.lora_module import DropoutRates, LoRAModule, MicroStep, SplitLoRAModule
from networks.network_args import INPUTS, PARTS, LoRAOptions, block_choice

BLOCK = re.compile(r"(double|single)_blocks\.(\d+)\.(.+)")


@dataclass(frozen=True)
class Target:
    """One Linear that gets a LoRA: kohya's name, where it is, its rank and alpha."""

    name: str
    path: str
    linear: nn.Linear
    rank: int
    alpha: float


RankOf = Callable[[str, str], tuple[int, float]]  # (kohya's name, the module's path) -> (rank, alpha); rank 0 trains nothing


def create_network(
    flux: nn.Module | None,
    clip: nn.Module | None,
    *,
    rank: int,
    alpha: float,
    seed: int,
    t5: nn.Module | None = None,
    network_dropout: float = 0.0,
    ranks: Mapping[str, tuple[int, float]] | None = None,
    options: LoRAOptions | None = None,
    **choices: Any,
) -> LoRANetwork:
    """Make a LoRA for the chosen Linears of each model that is given (None is not trained), and replace the Linear by it.

    `choices` are LoRAOptions by name, for callers without `options`. `ranks` overrules rank, alpha and choices: just the modules that it
    names are trained. Raises TrainerError for options that do not fit the model.
    """
    options = options or LoRAOptions(**choices)
    rank_of = _listed(ranks) if ranks is not None else _chosen(flux, rank, alpha, options)
    targets = [
        target for prefix, model in ((FLUX_PREFIX, flux), (CLIP_PREFIX, clip), (T5_PREFIX, t5)) for target in _find(prefix, model, rank_of)
    ]
    micro_step = MicroStep(seed)
    rates = DropoutRates(neuron=network_dropout, rank=options.rank_dropout, module=options.module_dropout)
    loras = [_attach(target, seed, rates, micro_step, split_qkv=options.split_qkv) for target in targets]
    if options.verbose:
        print("\n".join(f"{target.name}: rank {target.rank}, alpha {target.alpha:g}" for target in targets), flush=True)
    return LoRANetwork(loras, micro_step, options)


def _find(prefix: str, model: nn.Module | None, rank_of: RankOf) -> Iterator[Target]:
    for path, linear in model.named_modules() if model is not None else ():
        if isinstance(linear, nn.Linear) and LAYER_NAMES.is_trainable(prefix, path):
            name = kohya_name(prefix, path)
            rank, alpha = rank_of(name, path)
            if rank:
                yield Target(name, path, linear, rank, alpha)


def _attach(target: Target, seed: int, rates: DropoutRates, micro_step: MicroStep, *, split_qkv: bool) -> LoRAModule:
    sizes = _sizes(target) if split_qkv else None
    common = (target.name, target.linear, target.rank, target.alpha, seed)
    lora = SplitLoRAModule(*common, sizes, rates, micro_step) if sizes else LoRAModule(*common, rates, micro_step)
    target.linear.forward = lora.forward  # type: ignore[method-assign, assignment]
    return lora.to(target.linear.weight.device)


def _sizes(target: Target) -> list[int] | None:
    """Return the output rows of the projections that a Linear holds in one matrix; None for a Linear of one projection."""
    layer = LAYER_NAMES.layer_at(target.name)
    if layer is None or len(layer.parts) == 1:
        return None
    return layer.part_rows(target.linear.in_features, target.linear.out_features)


def _listed(ranks: Mapping[str, tuple[int, float]]) -> RankOf:
    return lambda name, path: ranks.get(name, (0, 0.0))


def _chosen(flux: nn.Module | None, rank: int, alpha: float, options: LoRAOptions) -> RankOf:
    """Return kohya's choice of ranks: by pattern first, else by kind of layer and block; the inputs only when in_dims is given."""
    blocks = {kind: _blocks(flux, kind, options) for kind in ("double", "single")}

    def rank_of(name: str, path: str) -> tuple[int, float]:
        is_flux, block = name.startswith(f"{FLUX_PREFIX}_"), BLOCK.match(path)
        if is_flux and not _takes_part(path, block, options):
            return 0, alpha
        by_pattern = next((found for pattern, found in options.network_reg_dims if re.search(pattern, name)), None)
        if by_pattern is not None:
            return by_pattern, alpha
        if not is_flux:
            return rank, alpha
        if block is None:
            return options.in_dims[INPUTS.index(path.split(".")[0])], alpha
        own = getattr(options, f"{_part(block)}_dim")
        return (rank if own is None else own) if int(block[2]) in blocks[block[1]] else 0, alpha

    return rank_of


def _takes_part(path: str, block: re.Match[str] | None, options: LoRAOptions) -> bool:
    if block is None:
        return bool(options.in_dims) and path.split(".")[0] in INPUTS
    return options.train_blocks in ("all", block[1])


def _blocks(flux: nn.Module | None, kind: str, options: LoRAOptions) -> set[int]:
    name = f"train_{kind}_block_indices"
    return block_choice(name, getattr(options, name), len(getattr(flux, f"{kind}_blocks"))) if flux is not None else set()


def _part(block: re.Match[str]) -> str:
    """Return which of PARTS a block's Linear belongs to."""
    kind, _, layer = block.groups()
    if kind == "single":
        return "single_mod" if layer.startswith("modulation") else "single"
    return next(part for part in PARTS if layer.startswith(part))

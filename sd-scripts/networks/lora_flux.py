"""LoRA for FLUX, CLIP-L and T5: selects the Linears to train, their ranks, and their names in kohya's format.

By default, these are all Linears of the double and single blocks (including modulations) and all of CLIP-L's layers. The modules themselves are
in lora_module.py, their options in network_args.py.
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
    """A Linear to train: its name in kohya's format, its module path, and the rank and alpha of its LoRA."""

    name: str
    path: str
    linear: nn.Linear
    rank: int
    alpha: float


RankOf = Callable[[str, str], tuple[int, float]]  # (kohya's name, the module's path) -> (rank, alpha); rank 0 means not trained


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
    """Create a LoRA for the selected Linears of each model that is not None, and replace the forward of these Linears.

    `choices` are fields of LoRAOptions, for callers without `options`. `ranks` maps module names to (rank, alpha) and takes precedence over
    rank, alpha and options: only its modules are trained. Raises TrainerError for options that do not fit the model.
    """
    options = options or LoRAOptions(**choices)
    rank_of = _ranks_by_name(ranks) if ranks is not None else _ranks_by_options(flux, rank, alpha, options)
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
    """Return the output rows of each projection that a Linear concatenates; None for a single projection."""
    layer = LAYER_NAMES.layer_at(target.name)
    if layer is None or len(layer.parts) == 1:
        return None
    return layer.part_rows(target.linear.in_features, target.linear.out_features)


def _ranks_by_name(ranks: Mapping[str, tuple[int, float]]) -> RankOf:
    return lambda name, path: ranks.get(name, (0, 0.0))


def _ranks_by_options(flux: nn.Module | None, rank: int, alpha: float, options: LoRAOptions) -> RankOf:
    """Return the ranks as kohya selects them: by name pattern, else by layer type and block; input layers only if in_dims is set."""
    blocks = {kind: _blocks(flux, kind, options) for kind in ("double", "single")}

    def rank_of(name: str, path: str) -> tuple[int, float]:
        is_flux, block = name.startswith(f"{FLUX_PREFIX}_"), BLOCK.match(path)
        if is_flux and not _is_selected(path, block, options):
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


def _is_selected(path: str, block: re.Match[str] | None, options: LoRAOptions) -> bool:
    if block is None:
        return bool(options.in_dims) and path.split(".")[0] in INPUTS
    return options.train_blocks in ("all", block[1])


def _blocks(flux: nn.Module | None, kind: str, options: LoRAOptions) -> set[int]:
    name = f"train_{kind}_block_indices"
    return block_choice(name, getattr(options, name), len(getattr(flux, f"{kind}_blocks"))) if flux is not None else set()


def _part(block: re.Match[str]) -> str:
    """Return the element of PARTS to which a block's Linear belongs."""
    kind, _, layer = block.groups()
    if kind == "single":
        return "single_mod" if layer.startswith("modulation") else "single"
    return next(part for part in PARTS if layer.startswith(part))

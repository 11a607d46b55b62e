"""LoRA for FLUX, CLIP-L and T5: selects the Linears to train, their ranks, and their names in kohya's format.

By default, these are all Linears of the double and single blocks (including modulations) and all of CLIP-L's layers. The modules themselves are
in lora_module.py, their options in network_args.py.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from torch import nn

from library.models.flux1.layer_names import FLUX_PREFIX, LAYER_NAMES
from library.models.layer_names import kohya_name
from library.network_options import LoRAOptions
from networks.base import LoRANetwork
from networks.lora_module import Dropout, DropoutRates, LoRAModule, LoRATarget, MicroStep, SplitLoRAModule
from networks.network_args import INPUTS, PARTS, block_choice

BLOCK = re.compile(r"(double|single)_blocks\.(\d+)\.(.+)")


@dataclass(frozen=True, kw_only=True)
class LoRASpec:
    """Size, dropout, limit and options of a LoRA.

    `ranks` maps module names to (rank, alpha) and takes precedence over rank, alpha and options: only its modules are trained. `dropout` is the
    probability of kohya's --network_dropout, a `max_norm` of 0 disables the limit of the modules' norms.
    """

    rank: int
    alpha: float
    dropout: float = 0.0
    max_norm: float = 0.0
    ranks: Mapping[str, tuple[int, float]] | None = None
    options: LoRAOptions = field(default_factory=LoRAOptions)


RankOf = Callable[[str, str], tuple[int, float]]  # (kohya's name, the module's path) -> (rank, alpha); rank 0 means not trained


def create_network(models: Mapping[str, nn.Module], spec: LoRASpec, *, seed: int) -> LoRANetwork:
    """Create a LoRA for the selected Linears of each model, and replace the forward of these Linears.

    `models` are by the prefix of their module names.

    Raises:
        TrainerError: For options that do not fit the model.
    """
    options = spec.options
    rank_of = _ranks_by_options(models.get(FLUX_PREFIX), spec) if spec.ranks is None else _ranks_by_name(spec.ranks)
    targets = [target for prefix, model in models.items() for target in _find(prefix, model, rank_of)]
    micro_step = MicroStep(seed)
    rates = DropoutRates(neuron=spec.dropout, rank=options.rank_dropout, module=options.module_dropout)
    loras = [
        _attach(target, seed, Dropout(rates, micro_step, target.name) if rates else None, split_qkv=options.split_qkv) for target in targets
    ]
    if options.verbose:
        print("\n".join(f"{target.name}: rank {target.rank}, alpha {target.alpha:g}" for target in targets), flush=True)
    return LoRANetwork(loras, micro_step, max_norm=spec.max_norm, options=options)


def _find(prefix: str, model: nn.Module, rank_of: RankOf) -> Iterator[LoRATarget]:
    for path, linear in model.named_modules():
        if isinstance(linear, nn.Linear) and LAYER_NAMES.is_trainable(prefix, path):
            name = kohya_name(prefix, path)
            rank, alpha = rank_of(name, path)
            if rank:
                yield LoRATarget(name=name, linear=linear, rank=rank, alpha=alpha)


def _attach(target: LoRATarget, seed: int, dropout: Dropout | None, *, split_qkv: bool) -> LoRAModule:
    sizes = _sizes(target) if split_qkv else None
    lora = SplitLoRAModule(target, sizes, seed=seed, dropout=dropout) if sizes else LoRAModule(target, seed=seed, dropout=dropout)
    target.linear.forward = lora.forward  # type: ignore[method-assign, assignment]
    return lora.to(target.linear.weight.device)


def _sizes(target: LoRATarget) -> list[int] | None:
    """Return the output rows of each projection that a Linear concatenates; None for a single projection."""
    layer = LAYER_NAMES.layer_at(target.name)
    if layer is None or len(layer.parts) == 1:
        return None
    return layer.part_rows(target.linear.in_features, target.linear.out_features)


def _ranks_by_name(ranks: Mapping[str, tuple[int, float]]) -> RankOf:
    return lambda name, path: ranks.get(name, (0, 0.0))


def _ranks_by_options(flux: nn.Module | None, spec: LoRASpec) -> RankOf:
    """Return the ranks as kohya selects them: by name pattern, else by layer type and block; input layers only if in_dims is set."""
    rank, alpha, options = spec.rank, spec.alpha, spec.options
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

"""The LoRA modules of single frozen Linears, and their dropout."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from library.randomness import generator
from networks.low_rank import ALPHA, DOWN, UP, fuse, split


@dataclass(frozen=True, kw_only=True)
class DropoutRates:
    """Dropout probabilities in [0, 1): of a value, of a rank, and of a whole module."""

    neuron: float = 0.0
    rank: float = 0.0
    module: float = 0.0

    def __bool__(self) -> bool:
        return bool(self.neuron or self.rank or self.module)


@dataclass
class MicroStep:
    """The current micro step, shared by all modules of a network; `active` is False outside of training steps."""

    seed: int
    step: int = 0
    micro: int = 0
    active: bool = False


class Dropout:
    """The dropout of one module; stateless, since masks are seeded by the micro step and the module's name."""

    def __init__(self, rates: DropoutRates, micro_step: MicroStep, name: str) -> None:
        self.rates, self.micro_step, self.name = rates, micro_step, name

    def skips_module(self) -> bool:
        """Return True if the module is skipped in this micro step."""
        return self.micro_step.active and bool(self._uniform("module", ()) < self.rates.module)

    def __call__(self, x: Tensor, index: int = 0) -> Tensor:
        """Drop values and ranks of x (B, ..., rank), and scale the others by 1 / (1 - p); `index` distinguishes the parts of a split module."""
        if not self.micro_step.active:
            return x
        if self.rates.neuron:
            x = x * self._mask("neuron", x.shape, self.rates.neuron, index).to(x)
        if self.rates.rank:
            shape = (x.shape[0], *[1] * (x.dim() - 2), x.shape[-1])
            x = x * self._mask("rank", shape, self.rates.rank, index).to(x)
        return x

    def _mask(self, kind: str, shape: tuple[int, ...], rate: float, index: int) -> Tensor:
        return (self._uniform(kind, shape, index) >= rate) / (1 - rate)

    def _uniform(self, kind: str, shape: tuple[int, ...], index: int = 0) -> Tensor:
        draws = generator(self.micro_step.seed, "dropout", kind, self.micro_step.step, self.micro_step.micro, self.name, index)
        return torch.rand(shape, generator=draws)


def add_lora(
    out: Tensor, x: Tensor, factors: tuple[Tensor, Tensor], scale: float, dropout: Callable[[Tensor], Tensor] | None = None
) -> Tensor:
    """Return out + scale * up(down(x)): (..., O) and (..., I) with factors (R, I) and (O, R) -> (..., O), in out's dtype.

    `dropout` is applied to down(x). To write no other tensor of the size of `out`, the scale is applied to down(x), and addmm adds `out`.
    """
    down, up = factors
    narrow = F.linear(x, down.to(x.dtype)) * scale
    narrow = narrow if dropout is None else dropout(narrow)
    sum_TO = torch.addmm(out.flatten(0, -2), narrow.flatten(0, -2).to(out.dtype), up.t().to(out.dtype))
    return sum_TO.view_as(out)


@dataclass(frozen=True, kw_only=True)
class LoRATarget:
    """A frozen Linear to train: its name in kohya's format, and the rank and alpha of its LoRA."""

    name: str
    linear: nn.Linear
    rank: int
    alpha: float


class LoRAModule(nn.Module):
    """The trainable LoRA of one frozen Linear."""

    alpha: Tensor
    lora_down: nn.Module  # a Linear; a ModuleList of Linears in a SplitLoRAModule
    lora_up: nn.Module

    def __init__(self, target: LoRATarget, *, seed: int, dropout: Dropout | None = None) -> None:
        super().__init__()
        self.name, self.multiplier = target.name, 1.0
        self.rank, self.scale = target.rank, target.alpha / target.rank
        self.dropout = dropout
        self.register_buffer(ALPHA, torch.tensor(float(target.alpha)))
        self._frozen_forward = target.linear.forward
        self._make_factors(target.linear, generator(seed, "lora", target.name))

    def _make_factors(self, linear: nn.Linear, random: torch.Generator) -> None:
        self.lora_down, self.lora_up = _factors(linear.in_features, self.rank, linear.out_features, random)

    def forward(self, x: Tensor) -> Tensor:
        """Return the frozen layer's output plus the LoRA's: (..., in) -> (..., out)."""
        out = self._frozen_forward(x)
        if self.multiplier == 0 or (self.dropout and self.dropout.skips_module()):
            return out
        (factors,) = self.factors()
        return add_lora(out, x, factors, self.multiplier * self.scale, self.dropout)

    def factors(self) -> list[tuple[Tensor, Tensor]]:
        """Return the trained (down, up) pairs: (rank, in) and (out, rank)."""
        return [(_weight(self.lora_down), _weight(self.lora_up))]

    def saved(self) -> dict[str, Tensor]:
        """Return the module in kohya's format: down (R, in), up (out, R) and alpha; alpha / R is the trained scale."""
        ((down, up),) = self.factors()
        return {DOWN: down, UP: up, ALPHA: self.alpha}

    @torch.no_grad()
    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Load the tensors of another module's `saved`; if its alpha differs, `up` is scaled so that the effect stays the same."""
        own_alpha = self.saved()[ALPHA]
        up = weights[UP]
        if weights[ALPHA] != own_alpha:
            up = up.float() * (weights[ALPHA].float() / own_alpha.to(up.device))
        self._fill(weights[DOWN], up)

    def _fill(self, down: Tensor, up: Tensor) -> None:
        ((own_down, own_up),) = self.factors()
        own_down.copy_(down)
        own_up.copy_(up)


class SplitLoRAModule(LoRAModule):
    """A LoRA per projection of a Linear that concatenates queries, keys, values (and feed-forward): kohya's split_qkv.

    The saved module has the summed rank and the summed alpha of the parts, which keeps the trained scale. (kohya saves the alpha of one part,
    which divides the LoRA's strength by the number of parts.)
    """

    lora_down: nn.ModuleList
    lora_up: nn.ModuleList

    def __init__(self, target: LoRATarget, sizes: Sequence[int], *, seed: int, dropout: Dropout | None = None) -> None:
        """`sizes` are the output rows of each part.

        Raises:
            ValueError: If their sum differs from the Linear's.
        """
        if sum(sizes) != target.linear.out_features:
            raise ValueError(f"{target.name}: parts of {list(sizes)} rows do not make up {target.linear.out_features}")
        self.sizes = list(sizes)
        super().__init__(target, seed=seed, dropout=dropout)

    def _make_factors(self, linear: nn.Linear, random: torch.Generator) -> None:
        pairs = [_factors(linear.in_features, self.rank, size, random) for size in self.sizes]
        self.lora_down, self.lora_up = (nn.ModuleList(side) for side in zip(*pairs, strict=True))

    def forward(self, x: Tensor) -> Tensor:
        """Return the frozen layer's output plus the parts': (..., in) -> (..., out)."""
        out = self._frozen_forward(x)
        if self.multiplier == 0 or (self.dropout and self.dropout.skips_module()):
            return out
        parts = []
        for index, (part, factors) in enumerate(zip(out.split(self.sizes, dim=-1), self.factors(), strict=True)):
            dropout = partial(self.dropout, index=index) if self.dropout else None
            parts.append(add_lora(part, x, factors, self.multiplier * self.scale, dropout))
        return torch.cat(parts, dim=-1)

    def factors(self) -> list[tuple[Tensor, Tensor]]:
        """Return the trained (down, up) pairs of the parts: (rank, in) and (size, rank)."""
        return [(_weight(down), _weight(up)) for down, up in zip(self.lora_down, self.lora_up, strict=True)]

    def saved(self) -> dict[str, Tensor]:
        """Return the parts as one module of the summed rank with a block-diagonal up."""
        down, up = fuse([(down.detach(), up.detach()) for down, up in self.factors()])
        return {DOWN: down, UP: up, ALPHA: self.alpha * len(self.sizes)}

    def _fill(self, down: Tensor, up: Tensor) -> None:
        for (own_down, own_up), (new_down, new_up) in zip(self.factors(), split(down, up, self.sizes), strict=True):
            own_down.copy_(new_down)
            own_up.copy_(new_up)


def _weight(linear: nn.Module) -> Tensor:
    assert isinstance(linear, nn.Linear)
    return linear.weight


def _factors(in_features: int, rank: int, out_features: int, random: torch.Generator) -> tuple[nn.Linear, nn.Linear]:
    down, up = nn.Linear(in_features, rank, bias=False), nn.Linear(rank, out_features, bias=False)
    nn.init.kaiming_uniform_(down.weight, a=math.sqrt(5), generator=random)
    nn.init.zeros_(up.weight)
    return down, up

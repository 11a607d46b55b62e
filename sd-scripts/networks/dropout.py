"""Dropout inside a LoRA whose masks derive from (seed, step, micro step, module), so that a recompute and a resume see the same ones.

Owns kohya's three kinds. Neuron dropout zeroes single values between down and up, rank dropout whole ranks of a picture, module dropout a
whole LoRA for one micro step. Nothing is dropped outside a training step: previews and validation use the network as it is saved.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from library.randomness import generator


@dataclass(frozen=True, kw_only=True)
class DropoutRates:
    """Probabilities of being dropped, each in [0, 1): of a value, of a rank, of a whole module."""

    neuron: float = 0.0
    rank: float = 0.0
    module: float = 0.0

    def __bool__(self) -> bool:
        return bool(self.neuron or self.rank or self.module)


@dataclass
class MicroStep:
    """Which micro step of a training is being computed; not `active` outside of one. All modules of a network share it."""

    seed: int
    step: int = 0
    micro: int = 0
    active: bool = False


class Dropout:
    """The dropout of one module. It keeps no state of its own: every mask is drawn anew from the moment and the module's name."""

    def __init__(self, rates: DropoutRates, moment: MicroStep, name: str) -> None:
        self.rates, self.moment, self.name = rates, moment, name

    def skips_module(self) -> bool:
        """Say whether the module takes no part in this micro step."""
        return self.moment.active and bool(self._uniform("module", ()) < self.rates.module)

    def __call__(self, x: Tensor, place: int = 0) -> Tensor:
        """Drop values and ranks: (B, ..., rank) -> the same, what stays scaled up by 1 / (1 - p). `place` tells split factors apart."""
        if not self.moment.active:
            return x
        if self.rates.neuron:
            x = x * self._kept("neuron", x.shape, self.rates.neuron, place).to(x)
        if self.rates.rank:
            shape = (x.shape[0], *[1] * (x.dim() - 2), x.shape[-1])
            x = x * self._kept("rank", shape, self.rates.rank, place).to(x)
        return x

    def _kept(self, kind: str, shape: tuple[int, ...], rate: float, place: int) -> Tensor:
        return (self._uniform(kind, shape, place) >= rate) / (1 - rate)

    def _uniform(self, kind: str, shape: tuple[int, ...], place: int = 0) -> Tensor:
        draws = generator(self.moment.seed, "dropout", kind, self.moment.step, self.moment.micro, self.name, place)
        return torch.rand(shape, generator=draws)

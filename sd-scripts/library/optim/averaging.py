"""Averaged weights: an exponential moving average (--ema_decay), or the average that a schedule-free optimizer computes.

Saved LoRAs, sample images and validation use the averaged weights; a checkpoint contains the trained weights.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from library.errors import TrainerError
from library.optim.optimizers import is_schedule_free

AVERAGE = "average"  # the file name of its tensors in a checkpoint


def decay_at(step: int, decay: float) -> float:
    """Return the decay of a step, counted from 1: 0 at the first step, then (1 + n) / (10 + n) with n = step - 1, at most `decay`.

    Source: the warm-up of TensorFlow's and diffusers' EMA. Without it, the average of a short training stays close to the initial weights.
    """
    before = step - 1
    return min(decay, (1 + before) / (10 + before)) if before > 0 else 0.0


class Average:
    """An exponential moving average of a network's trainable weights, in float32."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network, self.decay = network, decay
        self._tensors = {name: parameter.detach().float().clone() for name, parameter in network.named_parameters()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Update the average with the weights after a step, counted from 1."""
        share = 1 - decay_at(step, self.decay)
        for name, parameter in self.network.named_parameters():
            self._tensors[name].sub_(share * (self._tensors[name] - parameter))

    @torch.no_grad()
    def apply(self) -> None:
        """Overwrite the network's weights with the average."""
        for name, parameter in self.network.named_parameters():
            parameter.copy_(self._tensors[name])

    def tensors(self) -> dict[str, Tensor]:
        """Return copies of the averaged tensors in host memory, by parameter name."""
        return {name: tensor.to("cpu", copy=True).contiguous() for name, tensor in self._tensors.items()}

    def load(self, tensors: Mapping[str, Tensor] | None) -> None:
        """Restore a checkpoint's average.

        Raises:
            TrainerError: If it has none, or one of another network.
        """
        if tensors is None or {name: tensor.shape for name, tensor in tensors.items()} != {n: t.shape for n, t in self._tensors.items()}:
            raise TrainerError("The checkpoint has no running average of these weights; resume it without --ema_decay.")
        for name, tensor in tensors.items():
            self._tensors[name].copy_(tensor)


@contextmanager
def weights_for_use(network: nn.Module, optimizer: torch.optim.Optimizer, average: Average | None) -> Iterator[None]:
    """Replace the trained weights by the averaged ones within the context, and restore them bit for bit.

    A schedule-free optimizer computes one from the other and would round when it switches back, so the trained weights are copied.
    """
    if average is None and not is_schedule_free(optimizer):
        yield
        return
    trained = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    if is_schedule_free(optimizer):
        optimizer.eval()
    if average is not None:
        average.apply()
    try:
        yield
    finally:
        if is_schedule_free(optimizer):
            optimizer.train()
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                parameter.copy_(trained[name])

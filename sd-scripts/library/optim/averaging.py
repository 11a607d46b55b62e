"""Weights for use where they differ from the trained ones: a running average (--ema_decay) or a schedule-free optimizer.

Saved LoRAs, sample images and validation use these weights; a checkpoint holds the trained ones.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from library.errors import TrainerError
from library.optim.optimizers import is_schedule_free

AVERAGE = "average"  # the name of its tensors in a checkpoint


def decay_at(step: int, decay: float) -> float:
    """Return the share of the average that a step (from 1) keeps: 0 at the first, then (1 + n) / (10 + n) up to `decay`.

    Source: the warm-up of TensorFlow's and diffusers' averages. Without it the average of a short training stays near the initial weights.
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
        """Add the weights after a step (counted from 1)."""
        share = 1 - decay_at(step, self.decay)
        for name, parameter in self.network.named_parameters():
            self._tensors[name].sub_(share * (self._tensors[name] - parameter))

    @torch.no_grad()
    def apply(self) -> None:
        """Overwrite the network's weights with the average."""
        for name, parameter in self.network.named_parameters():
            parameter.copy_(self._tensors[name])

    def tensors(self) -> dict[str, Tensor]:
        """Return the average for a checkpoint, on the host."""
        return {name: tensor.to("cpu", copy=True).contiguous() for name, tensor in self._tensors.items()}

    def load(self, tensors: Mapping[str, Tensor] | None) -> None:
        """Restore a checkpoint's average; raises TrainerError if it has none, or one of another network."""
        if tensors is None or {name: tensor.shape for name, tensor in tensors.items()} != {n: t.shape for n, t in self._tensors.items()}:
            raise TrainerError("the checkpoint has no running average of these weights; resume it without --ema_decay.")
        for name, tensor in tensors.items():
            self._tensors[name].copy_(tensor)


@contextmanager
def weights_for_use(network: nn.Module, optimizer: torch.optim.Optimizer, average: Average | None) -> Iterator[None]:
    """Replace the trained weights by those for use within the context, and restore them bit for bit.

    A schedule-free optimizer computes one from the other and would round on the way back, hence the copies.
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

"""The weights as they are used, where those differ from the weights that are trained: a running average (--ema_decay), a schedule-free optimizer.

Owns when the one takes the other's place. Saved LoRAs and sample images show the weights for use; a checkpoint holds those of the training.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from library.errors import TrainerError
from library.optim.optimizers import is_schedule_free

AVERAGE = "average"  # its part of a checkpoint


def decay_at(step: int, decay: float) -> float:
    """Return how much of the average stays at a step, counted from 1: none at first, then (1 + n) / (10 + n) up to `decay`.

    The warm-up is the one of TensorFlow's and diffusers' averages: without it a short training would end near its untrained beginning.
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
        """Take in the weights after a step (counted from 1)."""
        share = 1 - decay_at(step, self.decay)
        for name, parameter in self.network.named_parameters():
            self._tensors[name].sub_(share * (self._tensors[name] - parameter))

    @torch.no_grad()
    def put_in(self) -> None:
        """Copy the average over the network's weights."""
        for name, parameter in self.network.named_parameters():
            parameter.copy_(self._tensors[name])

    def tensors(self) -> dict[str, Tensor]:
        """Return the average for a checkpoint, on the host."""
        return {name: tensor.to("cpu", copy=True).contiguous() for name, tensor in self._tensors.items()}

    def load(self, tensors: Mapping[str, Tensor] | None) -> None:
        """Restore a checkpoint's average; raises TrainerError when the checkpoint has none, or one of another network."""
        if tensors is None or {name: tensor.shape for name, tensor in tensors.items()} != {n: t.shape for n, t in self._tensors.items()}:
            raise TrainerError("the checkpoint holds no average of these weights; resume it without --ema_decay.")
        for name, tensor in tensors.items():
            self._tensors[name].copy_(tensor)


@contextmanager
def weights_for_use(network: nn.Module, optimizer: torch.optim.Optimizer, average: Average | None) -> Iterator[None]:
    """Put the weights as they are used in place of those that are trained, and these back bit for bit.

    A schedule-free optimizer computes the one from the other and would round on the way back, hence the copies.
    """
    if average is None and not is_schedule_free(optimizer):
        yield
        return
    trained = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    if is_schedule_free(optimizer):
        optimizer.eval()
    if average is not None:
        average.put_in()
    try:
        yield
    finally:
        if is_schedule_free(optimizer):
            optimizer.train()
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                parameter.copy_(trained[name])

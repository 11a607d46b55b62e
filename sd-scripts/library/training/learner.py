"""Optimization of the network: optimizer, learning rate schedule, gradient clipping and the average of the weights."""

import math
from contextlib import AbstractContextManager
from pathlib import Path

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from fluxgym.contract.codes import ReasonCode
from library.errors import TrainerError
from library.optim.averaging import AVERAGE, Average, weights_for_use
from library.optim.optimizers import clip_gradients, rates_of
from library.randomness import derived_seed
from library.training.checkpoint import CheckpointParts, load_checkpoint
from library.training.kohya_state import is_kohya_state, load_kohya_state
from networks.base import TrainedNetwork


class Learner:
    """Computes gradients and makes optimizer steps; the caller counts the steps, from 0."""

    def __init__(
        self,
        *,
        network: TrainedNetwork,
        optimizer: torch.optim.Optimizer,
        scheduler: LRScheduler,
        average: Average | None = None,
        seed: int,
        learning_rate: float,
        max_grad_norm: float,
    ) -> None:
        """`seed` is the seed of the run, `learning_rate` appears in error messages, a `max_grad_norm` of 0 disables clipping."""
        self.network = network
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.average = average
        self.seed = seed
        self.learning_rate = learning_rate
        self.max_grad_norm = max_grad_norm
        self._first_digests = network.digests()

    def resume(self, folder: Path, step: int) -> None:
        """Restore a checkpoint of this trainer or of kohya's trainer.

        Raises:
            TrainerError: If it does not fit the network or the optimizer.
        """
        parts: dict[str, dict[str, Tensor]] = {}
        if is_kohya_state(folder):
            load_kohya_state(folder, self.network, self.optimizer, self.scheduler, step)
        else:
            parts = load_checkpoint(folder, self.network, self.optimizer, self.scheduler)
        if self.average is not None:
            self.average.load(parts.get(AVERAGE))

    def begin_step(self, step: int) -> None:
        """Seed PyTorch's default generator, for layers and optimizers that use it."""
        torch.manual_seed(derived_seed(self.seed, "step", step))

    def begin_micro_batch(self, step: int, micro: int) -> None:
        """Start a micro step of the network, which seeds and enables its dropout."""
        self.network.start_micro_step(step, micro)

    def backward(self, losses_B: Tensor, num_micro_batches: int) -> float:
        """Accumulate the gradients of one micro-batch with losses (B,); returns its mean loss."""
        loss = losses_B.mean()
        (loss / num_micro_batches).backward()
        return loss.item()

    def check_loss(self, loss: float, step: int) -> None:
        """Raise TrainerError (nan) if the loss of a step is NaN or infinite."""
        if math.isfinite(loss):
            return
        if not step:
            raise TrainerError(
                f"The loss is {loss} at the first step, before anything was learned: a model or a LoRA that it begins with is damaged.",
                reason_code=ReasonCode.NAN,
            )
        raise TrainerError(
            f"The loss became {loss} at step {step + 1}; the likely cause is a learning rate that is too high "
            f"(--learning_rate is {self.learning_rate}). Start again with a lower one.",
            reason_code=ReasonCode.NAN,
        )

    def step(self, step: int) -> dict[str, float]:
        """Make an optimizer step with the accumulated gradients; returns the learning rates of this step by kohya's names."""
        clip_gradients(self.network, self.max_grad_norm)
        rates = rates_of(self.optimizer)
        self.optimizer.step()
        self.network.after_step()
        self.scheduler.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.average is not None:
            self.average.update(step + 1)
        return rates

    def check_learned(self, step: int) -> None:
        """Raise TrainerError (bad_output) if the training has not changed the network's effect."""
        if not self.network.has_learned(self._first_digests):
            raise TrainerError(
                f"Nothing was learned in {step} steps: no weight has changed; the learning rate {self.learning_rate} or the "
                "alpha is too small, or the warm-up too long.",
                reason_code=ReasonCode.BAD_OUTPUT,
            )

    def weights_for_use(self) -> AbstractContextManager[None]:
        """Return a context in which the network has the averaged weights, or the evaluation weights of a schedule-free optimizer."""
        return weights_for_use(self.network, self.optimizer, self.average)

    def checkpoint_parts(self) -> CheckpointParts:
        """Return what a checkpoint holds: network, optimizer, schedule and the averaged weights."""
        extra = {} if self.average is None else {AVERAGE: self.average.tensors()}
        return CheckpointParts(network=self.network, optimizer=self.optimizer, scheduler=self.scheduler, extra=extra)

"""The loss on pictures that are held out: at fixed noise levels and with fixed noise, so that it moves only when the LoRA does.

Owns when it is computed and from what. It leaves no trace in the training: no gradient, no draw from any of its generators.
"""

import json
import sys
from argparse import Namespace
from collections.abc import Callable
from itertools import islice

import torch
from torch import Tensor

from library.data.dataset import Batch, TrainingData
from library.flow import NUM_TIMESTEPS, add_noise
from library.randomness import generator
from library.reporting.progress import ProgressLog

NUM_LEVELS = 4  # timesteps 200, 400, 600 and 800, as in kohya
Losses = Callable[[Batch, Tensor, Tensor, Tensor, Tensor], Tensor]


class Validation:
    """When the held-out pictures are due, and their loss."""

    def __init__(self, args: Namespace, data: TrainingData, progress: ProgressLog) -> None:
        self.args, self.data, self.progress = args, data, progress
        self.seed = args.seed if args.validation_seed is None else args.validation_seed
        self.last: tuple[int, float] | None = None  # step and loss of the last one

    def is_due(self, step: int, epoch_ended: int = 0) -> bool:
        """Say whether to validate after a step, or at the end of an epoch (counted from 1); without a flag every epoch, as in kohya."""
        if not self.data.held_out or (self.last and self.last[0] == step):
            return False
        if epoch_ended:
            return epoch_ended % (self.args.validate_every_n_epochs or 1) == 0
        return bool(self.args.validate_every_n_steps) and step % self.args.validate_every_n_steps == 0

    def is_written(self, step: int) -> bool:
        """Say whether progress.jsonl holds the loss of a step already; if not, a stop came before it."""
        path = self.progress.path
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path and path.is_file() else []
        return any('"val_loss"' in line and _step_of(line) == step for line in lines)

    def run(self, step: int, latents: Callable[[Batch, None], Tensor], losses: Losses, check: Callable[[], None]) -> float:
        """Return the loss averaged over held-out pictures and noise levels, and write it as val_loss into progress.jsonl.

        latents(batch, None) makes a batch's latents (B, C, h, w); losses(batch, latents, noise, sigmas, noisy) compares -> (B,). check() may
        raise to stop, between batches.
        """
        found: list[Tensor] = []
        total = min(self.data.num_validation_batches, self.args.max_validation_steps or sys.maxsize)
        with torch.no_grad():
            for place, batch in enumerate(islice(self.data.validation_batches(), total)):
                self.progress.enter_part("validating", place, total)
                check()
                found += self._of_batch(batch, place, latents(batch, None), losses)
        loss = torch.cat(found).double().mean().item()
        self.last = step, loss
        self.progress.write(val_loss=loss)
        return loss

    def _of_batch(self, batch: Batch, place: int, latents: Tensor, losses: Losses) -> list[Tensor]:
        """The loss at each noise level: NUM_LEVELS tensors (B,)."""
        found = []
        for level, sigma in enumerate(self.sigmas()):
            random = generator(self.seed, "validation noise", place, level)
            noise = torch.randn(latents.shape, generator=random).to(latents.device)
            sigmas = torch.full((len(latents),), sigma, device=latents.device)
            found.append(losses(batch, latents, noise, sigmas, add_noise(latents, noise, sigmas)).cpu())
        return found

    def sigmas(self) -> list[float]:
        """The noise levels, evenly inside --min_timestep and --max_timestep."""
        low, high = self.args.min_timestep or 0, self.args.max_timestep or NUM_TIMESTEPS
        return [(low + (high - low) * part / (NUM_LEVELS + 1)) / NUM_TIMESTEPS for part in range(1, NUM_LEVELS + 1)]


def _step_of(line: str) -> int | None:
    try:
        return json.loads(line).get("step")
    except ValueError:
        return None  # torn by a kill

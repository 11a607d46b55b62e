"""What happens between steps: sample images, saves, the validation loss.

A hook decides by its own settings at which steps and epochs it acts. Its `catch_up` does after a resume what a stop left undone.
"""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from fluxgym.contract.codes import Phase
from fluxgym.contract.files import epoch_label, epoch_suffix, step_label, step_suffix
from library.config import SampleConfig, SaveConfig, ValidationConfig
from library.data.dataset import Batch, TrainingData
from library.objective import BatchInputs, FlowMatchingLoss
from library.randomness import generator
from library.sampling import ImageSampler
from library.training.checkpoint import TrainState
from library.training.learner import Learner
from library.training.position import Position
from library.training.reporting import Reporter
from library.training.saving import Saver

Check = Callable[[], None]  # called between pieces of work; may raise to stop


class Hook:
    """Acts at moments of a training; a subclass overrides the moments that it needs."""

    def at_start(self, position: Position) -> None:
        """Act before the first step of a training that is not resumed."""

    def after_step(self, position: Position) -> None:
        """Act after a step."""

    def after_epoch(self, position: Position) -> None:
        """Act at the end of an epoch, whose number is position.epochs_begun."""

    def catch_up(self, position: Position) -> None:
        """Act before the first step of a resumed training: do what was scheduled at its position and is missing on disk."""

    def at_stop(self, position: Position) -> None:
        """Act when a stop was requested."""

    def at_end(self, position: Position) -> None:
        """Act after the last step."""


class Hooks(Hook):
    """Hooks in the order in which they act: one order for steps, one for epochs."""

    def __init__(self, *, step_order: Sequence[Hook], epoch_order: Sequence[Hook]) -> None:
        self.step_order, self.epoch_order = step_order, epoch_order

    def at_start(self, position: Position) -> None:
        """Act before the first step."""
        for hook in self.step_order:
            hook.at_start(position)

    def after_step(self, position: Position) -> None:
        """Act after a step."""
        for hook in self.step_order:
            hook.after_step(position)

    def after_epoch(self, position: Position) -> None:
        """Act at the end of an epoch."""
        for hook in self.epoch_order:
            hook.after_epoch(position)

    def catch_up(self, position: Position) -> None:
        """Act before the first step of a resumed training."""
        for hook in self.step_order if position.batch_in_epoch else self.epoch_order:
            hook.catch_up(position)

    def at_stop(self, position: Position) -> None:
        """Act when a stop was requested."""
        for hook in self.step_order:
            hook.at_stop(position)

    def at_end(self, position: Position) -> None:
        """Act after the last step."""
        for hook in self.step_order:
            hook.at_end(position)


class SampleHook(Hook):
    """Draws the sample images."""

    def __init__(self, *, config: SampleConfig, sampler: ImageSampler, learner: Learner, reporter: Reporter, check: Check) -> None:
        self.config, self.sampler, self.learner, self.reporter, self.check = config, sampler, learner, reporter, check

    def at_start(self, position: Position) -> None:
        """Draw before the first step, by --sample_at_first."""
        if self.config.sample_at_first and self.sampler.prompts:
            self._draw(position, step_label(position.step))

    def after_step(self, position: Position) -> None:
        """Draw after every so many steps; epochs take precedence over steps, as in kohya."""
        if self._is_scheduled_at_step(position.step):
            self._draw(position, step_label(position.step))

    def after_epoch(self, position: Position) -> None:
        """Draw after every so many epochs."""
        if self._is_scheduled_at_epoch(position.epochs_begun):
            self._draw(position, epoch_label(position.epochs_begun))

    def catch_up(self, position: Position) -> None:
        """Draw the images of this position if one of them is missing."""
        if position.batch_in_epoch:
            if self._is_scheduled_at_step(position.step) and not self.sampler.has_images(step_label(position.step)):
                self._draw(position, step_label(position.step))
        elif self._is_scheduled_at_epoch(position.epoch) and not self.sampler.has_images(epoch_label(position.epochs_begun)):
            self._draw(position, epoch_label(position.epochs_begun))

    def _is_scheduled_at_step(self, step: int) -> bool:
        every = self.config.sample_every_n_steps
        return bool(self.sampler.prompts and every and not self.config.sample_every_n_epochs and step % every == 0)

    def _is_scheduled_at_epoch(self, epoch: int) -> bool:
        every = self.config.sample_every_n_epochs
        return bool(self.sampler.prompts and every and epoch and epoch % every == 0)

    def _draw(self, position: Position, label: str) -> None:
        self.reporter.enter(Phase.SAMPLING, epoch=position.current_epoch)
        with self.learner.weights_for_use():
            self.sampler.draw(label, self.check)
        self.reporter.pause()


class SaveHook(Hook):
    """Saves LoRA files and checkpoints, and removes old ones."""

    def __init__(self, *, config: SaveConfig, saver: Saver, learner: Learner, reporter: Reporter, state: TrainState) -> None:
        """`state` is what a checkpoint records beside its position, the losses and the trackers' folder."""
        self.config, self.saver, self.learner, self.reporter, self.state = config, saver, learner, reporter, state

    def after_step(self, position: Position) -> None:
        """Save after every so many steps, but for the last step."""
        self._save_at_step(position, missing_only=False)

    def after_epoch(self, position: Position) -> None:
        """Save after every so many epochs, but for the last epoch."""
        self._save_at_epoch(position, missing_only=False)

    def catch_up(self, position: Position) -> None:
        """Save the LoRA of this position if it is missing, and remove old files."""
        if position.batch_in_epoch:
            self._save_at_step(position, missing_only=True)
        elif position.epoch:
            self._save_at_epoch(position, missing_only=True)

    def at_stop(self, position: Position) -> None:
        """Save a checkpoint to resume from."""
        self._save_state(position, step_suffix(position.step))

    def at_end(self, position: Position) -> None:
        """Save the LoRA and read it again.

        Raises:
            TrainerError: If nothing was learned or the file does not hold what was trained.
        """
        self.reporter.enter(Phase.SAVING)
        self.learner.check_learned(position.step)
        if self.config.save_state or self.config.save_state_on_train_end:
            self._save_state(position, "")
        path = self._save_lora(position, "", epoch=position.num_epochs)
        self.reporter.enter(Phase.VERIFYING)
        self.saver.check_lora(path)
        self.reporter.enter(Phase.DONE, epoch=position.num_epochs)
        print(f"saved {path}", flush=True)

    def _save_at_step(self, position: Position, *, missing_only: bool) -> None:
        every = self.config.save_every_n_steps
        if every and position.step % every == 0 and position.step < position.total_steps:
            self._save(position, step_suffix(position.step), missing_only=missing_only)
            self.saver.drop_old_steps(position.step)

    def _save_at_epoch(self, position: Position, *, missing_only: bool) -> None:
        every, epoch = self.saver.epoch_interval, position.epochs_begun
        if every and epoch % every == 0 and epoch < position.num_epochs:
            self._save(position, epoch_suffix(epoch), missing_only=missing_only)
            self.saver.drop_old_epochs(epoch)

    def _save(self, position: Position, suffix: str, *, missing_only: bool) -> None:
        if missing_only and self.saver.has_lora(suffix):
            return
        self.reporter.enter(Phase.SAVING)
        self._save_lora(position, suffix, epoch=position.epoch)
        if self.config.save_state:
            self._save_state(position, suffix)

    def _save_lora(self, position: Position, suffix: str, *, epoch: int) -> Path:
        with self.learner.weights_for_use():
            return self.saver.save_lora(suffix, epoch=epoch, step=position.step)

    def _save_state(self, position: Position, suffix: str) -> None:
        self.reporter.enter(Phase.SAVING)
        state = replace(
            self.state,
            step=position.step,
            epoch=position.epoch,
            batch_in_epoch=position.batch_in_epoch,
            losses=self.reporter.losses,
            log_folder=self.reporter.log_folder,
        )
        self.saver.save_state(suffix, self.learner.checkpoint_parts(), state)


class ValidationHook(Hook):
    """Computes the loss of the held-out images at fixed noise levels with fixed noise."""

    def __init__(
        self,
        *,
        config: ValidationConfig,
        sigmas: Sequence[float],
        data: TrainingData,
        inputs: BatchInputs,
        loss: FlowMatchingLoss,
        learner: Learner,
        reporter: Reporter,
        check: Check,
    ) -> None:
        self.config, self.sigmas, self.data, self.inputs, self.loss = config, sigmas, data, inputs, loss
        self.learner, self.reporter, self.check = learner, reporter, check
        self._last_step: int | None = None

    def after_step(self, position: Position) -> None:
        """Validate after every so many steps."""
        if self._is_scheduled_at_step(position.step):
            self._validate("step", position.step, position)

    def after_epoch(self, position: Position) -> None:
        """Validate after every so many epochs, unless the epoch's last step has been validated."""
        if self._is_scheduled_at_epoch(position):
            self._validate("epoch", position.epochs_begun, position)

    def catch_up(self, position: Position) -> None:
        """Validate if progress.jsonl does not hold the loss of this position: a stop came before it."""
        if position.batch_in_epoch:
            if self._is_scheduled_at_step(position.step) and not self._is_written(position.step):
                self._validate("step", position.step, position)
        elif position.epoch and self._is_scheduled_at_epoch(position) and not self._is_written(position.step):
            self._validate("epoch", position.epoch, position)

    def _is_scheduled_at_step(self, step: int) -> bool:
        every = self.config.validate_every_n_steps
        return bool(self.data.held_out and every and step % every == 0)

    def _is_scheduled_at_epoch(self, position: Position) -> bool:
        is_new = self.data.held_out and self._last_step != position.step
        return bool(is_new and position.epochs_begun % self.config.validate_every_n_epochs == 0)

    def _is_written(self, step: int) -> bool:
        path = self.reporter.progress.path
        lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines() if path and path.is_file() else []
        return any('"val_loss"' in line and _step_of(line) == step for line in lines)

    def _validate(self, kind: str, x: int, position: Position) -> None:
        with self.learner.weights_for_use():
            loss = self.compute()
        self._last_step = position.step
        self.reporter.report_validation(kind, x, loss, position)

    def compute(self) -> float:
        """Return the loss averaged over held-out images and noise levels; self.check may raise between batches."""
        losses: list[Tensor] = []
        total = min(self.data.num_validation_batches, self.config.max_validation_steps or sys.maxsize)
        with torch.no_grad():
            for index, batch in enumerate(islice(self.data.validation_batches(), total)):
                self.reporter.progress.enter_part(Phase.VALIDATING, index, total)
                self.check()
                losses += self._losses(batch, index)
        return torch.cat(losses).double().mean().item()

    def _losses(self, batch: Batch, index: int) -> list[Tensor]:
        """Return the losses (B,) at each noise level."""
        latents, losses = self.inputs.mean_latents(batch), []
        for level, sigma in enumerate(self.sigmas):
            random = generator(self.config.validation_seed, "validation noise", index, level)
            noise = torch.randn(latents.shape, generator=random).to(latents.device)
            sigmas = torch.full((len(latents),), sigma, device=latents.device)
            losses.append(self.loss.at_sigmas(batch, latents, noise, sigmas).cpu())
        return losses


def _step_of(line: str) -> int | None:
    try:
        step: int | None = json.loads(line).get("step")
    except ValueError:
        return None  # cut off by a kill
    return step

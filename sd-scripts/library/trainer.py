"""The training of a FLUX LoRA: its steps, and what happens at their ends.

Owns the loop. The parts are made in preparation.py and one batch is worked in forward.py, the two layers below this class. Every random
number derives from (seed, step), and a checkpoint carries the place inside the epoch, so a resumed training does exactly what the
uninterrupted one would have done.
"""

import math
import time
from pathlib import Path

from library.checkpoint import TrainState, read_train_state
from library.console import Console
from library.dataset import Batch
from library.errors import TrainerError
from library.forward import Forward
from library.optimizers import clip_gradients
from library.saving import epoch_suffix, step_suffix
from library.signals import StopRequested


class Training(Forward):
    """One training from its arguments to its LoRA file."""

    def run(self) -> None:
        """Train and save; raises TrainerError for a user's mistake, StopRequested after the state was saved for a stop."""
        if self.args.debug_dataset:
            print(self.data.describe(), flush=True)
            return
        resumed = read_train_state(Path(self.args.resume)) if self.args.resume else None
        self.progress.step = resumed.step if resumed else 0
        self._prepare_data()
        self._prepare_network(resumed)
        try:
            self._train()
        except StopRequested:
            if self.step:
                self._save_state(step_suffix(self.step))
            raise
        self._finish()

    # -- the steps -------------------------------------------------------------------------------------------------------------

    def _train(self) -> None:
        self.console = Console(self.step, self.total_steps, self.data.num_batches_per_epoch)
        with self.console:
            if self.step == 0 and self.prompts and self.args.sample_at_first:
                self._preview(f"{0:06d}")
            elif self.step and self.previews.is_due_at_step(self.step) and not self.previews.are_drawn(f"{self.step:06d}"):
                self._preview(f"{self.step:06d}")  # the stop came while they were drawn
            if self.validation.was_missed(self.step, 0 if self.first_batch else self.epoch):
                self._validate()
            while self.epoch < self.num_epochs and self.step < self.total_steps:
                self._run_epoch()

    def _run_epoch(self) -> None:
        self.progress.enter("training", epoch=self.epoch + 1)  # the first step may take long; who watches is to know what it waits for
        micro_batches: list[Batch] = []
        for place, batch in enumerate(self.data.epoch(self.epoch, self.first_batch), self.first_batch + 1):
            micro_batches.append(batch)
            if len(micro_batches) == self.args.gradient_accumulation_steps or place == self.data.num_batches_per_epoch:
                self.first_batch = place
                self._step(micro_batches)
                micro_batches = []
                if self.step >= self.total_steps:
                    break
        self.epoch, self.first_batch = self.epoch + 1, 0
        self._end_epoch()

    def _step(self, micro_batches: list[Batch]) -> None:
        """One optimizer step over the batches that it accumulates, and what is due after it."""
        started = time.perf_counter()
        losses = [self._backward(batch, micro, len(micro_batches)) for micro, batch in enumerate(micro_batches)]
        loss = sum(losses) / len(losses)
        if not math.isfinite(loss):
            raise TrainerError(
                f"the loss became {loss} at step {self.step + 1}; the likely cause is a learning rate that is too high "
                f"(--learning_rate is {self.args.learning_rate}). Resume from an earlier checkpoint with a lower one.",
                reason_code="nan",
            )
        clip_gradients(self.network, self.args.max_grad_norm)
        rate = self.scheduler.get_last_lr()[0]
        self.optimizer.step()
        self.scheduler.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        self.progress.step = self.step
        seconds = self.console.advance(loss, time.perf_counter() - started)
        self.progress.enter("training", epoch=self.epoch + 1, loss=loss, lr=rate, s_per_it=seconds)
        self._end_step()

    # -- after a step, after an epoch, at the end ------------------------------------------------------------------------------

    def _end_step(self) -> None:
        if self.previews.is_due_at_step(self.step):
            self._preview(f"{self.step:06d}")
        every = self.args.save_every_n_steps
        if every and self.step % every == 0 and self.step < self.total_steps:
            self._save(step_suffix(self.step))
            self.saver.drop_old_steps(self.step)
        if self.validation.is_due(self.step):
            self._validate()
        if self.step < self.total_steps:
            self.stop.check()

    def _end_epoch(self) -> None:
        every = self.args.save_every_n_epochs
        if every and self.epoch % every == 0 and self.epoch < self.num_epochs:
            self._save(epoch_suffix(self.epoch))
            self.saver.drop_old_epochs(self.epoch)
        if self.previews.is_due_at_epoch(self.epoch):
            self._preview(f"e{self.epoch:06d}")
        if self.validation.is_due(self.step, self.epoch):
            self._validate()

    def _finish(self) -> None:
        self.progress.enter("saving")
        if self.args.save_state or self.args.save_state_on_train_end:
            self._save_state("")
        path = self.saver.save_lora("", epoch=self.num_epochs, step=self.step)
        self.progress.enter("done", epoch=self.num_epochs)
        print(f"saved {path}", flush=True)

    def _save(self, suffix: str) -> None:
        self.progress.enter("saving")
        self.saver.save_lora(suffix, epoch=self.epoch, step=self.step)
        if self.args.save_state:
            self._save_state(suffix)

    def _save_state(self, suffix: str) -> None:
        self.progress.enter("saving")
        state = TrainState(
            step=self.step,
            epoch=self.epoch,
            batch_in_epoch=self.first_batch,
            total_steps=self.total_steps,
            seed=self.args.seed,
            fixed=self._fixed(),
        )
        self.saver.save_state(suffix, self.optimizer, self.scheduler, state)

    def _preview(self, place: str) -> None:
        self.progress.enter("sampling", epoch=self.epoch + 1)
        clip = self.clip if self.trains_clip else None
        self.previews.draw(place, self.flux, self.vae, clip, self.dtype, self.stop.check)
        self.console.rest()

    def _validate(self) -> None:
        self.validation.run(self.step, self._latents, self._losses, self.network, self.stop.check)
        self.console.rest()

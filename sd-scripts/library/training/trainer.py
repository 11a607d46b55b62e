"""The training of a FLUX LoRA: its steps, and what happens at their ends.

Owns the loop. The parts are made in preparation.py and one batch is worked in forward.py, the two layers below this class. Every random
number derives from (seed, step), and a checkpoint carries the place inside the epoch, so a resumed training does exactly what the
uninterrupted one would have done.
"""

import math
import time
from pathlib import Path

import torch

from fluxgym.contract.codes import Phase, ReasonCode
from fluxgym.contract.files import epoch_suffix, step_suffix
from library.data.dataset import Batch
from library.errors import TrainerError
from library.objective import Forward
from library.optim.averaging import AVERAGE, weights_for_use
from library.optim.optimizers import clip_gradients, rates_of
from library.process import StopRequested
from library.randomness import derived_seed
from library.training.checkpoint import TrainState
from library.training.compatibility import fixed_settings, other_settings
from library.training.reporting import Console


class Training(Forward):
    """One training from its arguments to its LoRA file."""

    def run(self) -> None:
        """Train and save; raises TrainerError for a user's mistake, StopRequested after the state was saved for a stop."""
        if self.args.debug_dataset:
            print(self.data.describe(), flush=True)
            return
        resumed = self.load_position()
        self._prepare_data()
        self._prepare_network(resumed)
        try:
            self._train(is_resumed=resumed is not None)
        except StopRequested:
            if self.step:
                self._save_state(step_suffix(self.step))
            raise
        finally:
            self.trackers.close()
        self._finish()

    # -- the steps -------------------------------------------------------------------------------------------------------------

    def _train(self, *, is_resumed: bool) -> None:
        self.console = Console(self.step, self.total_steps, self.steps_per_epoch, self.losses)
        with self.console:
            if is_resumed:
                self._catch_up()
            elif self.prompts and self.args.sample_at_first:
                self._preview(f"{self.step:06d}")
            while self.epoch < self.num_epochs and self.step < self.total_steps:
                self._run_epoch()

    def _catch_up(self) -> None:
        """Do what was due at the place of the checkpoint and is not there: the stop may have come between two of its files."""
        if self.first_batch:
            self._after_step(missing_only=True)
        elif self.epoch:
            self._after_epoch(self.epoch, missing_only=True)

    def _run_epoch(self) -> None:
        self.progress.enter(Phase.TRAINING, epoch=self.epoch + 1)  # the first step may take long; who watches is to know what it waits for
        micro_batches: list[Batch] = []
        for place, batch in enumerate(self.data.epoch(self.epoch, self.first_batch), self.first_batch + 1):
            micro_batches.append(batch)
            if len(micro_batches) == self.args.gradient_accumulation_steps or place == self.data.num_batches_per_epoch:
                self.first_batch = place
                self._step(micro_batches)
                micro_batches = []
                if self.step >= self.total_steps:
                    break
        done = self.epoch + 1
        if self.first_batch == self.data.num_batches_per_epoch:
            self.epoch, self.first_batch = done, 0  # else --max_train_steps ends it here, and more steps would go on from here
        self._end_epoch(done)

    def _step(self, micro_batches: list[Batch]) -> None:
        """One optimizer step over the batches that it accumulates, and what is due after it."""
        started = time.perf_counter()
        torch.manual_seed(derived_seed(self.args.seed, "step", self.step))  # for what draws without a generator of its own
        losses = [self._backward(batch, micro, len(micro_batches)) for micro, batch in enumerate(micro_batches)]
        loss = sum(losses) / len(losses)
        if not math.isfinite(loss) and not self.step:
            raise TrainerError(
                f"the loss is {loss} at the first step, before anything was learned: a model or a LoRA that it begins with is damaged.",
                reason_code=ReasonCode.NAN,
            )
        if not math.isfinite(loss):
            raise TrainerError(
                f"the loss became {loss} at step {self.step + 1}; the likely cause is a learning rate that is too high "
                f"(--learning_rate is {self.args.learning_rate}). Resume from an earlier checkpoint with a lower one.",
                reason_code=ReasonCode.NAN,
            )
        clip_gradients(self.network, self.args.max_grad_norm)
        rates = rates_of(self.optimizer)
        self.optimizer.step()
        self.network.after_step()
        self.scheduler.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        if self.average is not None:
            self.average.update(self.step)
        self._report(loss, rates, time.perf_counter() - started)
        self._end_step()

    def _report(self, loss: float, rates: dict[str, float], seconds: float) -> None:
        self.progress.step = self.step
        speed = self.console.advance(loss, seconds)
        rate = next((rate for name, rate in rates.items() if name.startswith("d*lr")), next(iter(rates.values())))
        self.progress.enter(Phase.TRAINING, epoch=self.epoch + 1, loss=loss, lr=rate, s_per_it=speed)
        self.trackers.log_step(loss=loss, average=self.console.average, rates=rates, step=self.step, epoch=self.epoch + 1)

    # -- after a step, after an epoch, at the end ------------------------------------------------------------------------------

    def _end_step(self) -> None:
        self._after_step()
        if self.step < self.total_steps:
            self.stop.check()

    def _after_step(self, *, missing_only: bool = False) -> None:
        """Draw and save what is due after this step; with `missing_only` not what is there already."""
        place, every = f"{self.step:06d}", self.args.save_every_n_steps
        if self.previews.is_scheduled_at_step(self.step) and not (missing_only and self.previews.has_samples(place)):
            self._preview(place)
        if every and self.step % every == 0 and self.step < self.total_steps:
            if not (missing_only and self.saver.has_lora(step_suffix(self.step))):
                self._save(step_suffix(self.step))
            self.saver.drop_old_steps(self.step)
        if self.validation.is_scheduled(self.step) and not (missing_only and self.validation.is_written(self.step)):
            self._validate("step", self.step)

    def _end_epoch(self, epoch: int) -> None:
        self.trackers.log({"loss/epoch_average": self.console.average}, x=epoch, step=self.step, epoch=epoch)
        self._after_epoch(epoch)

    def _after_epoch(self, epoch: int, *, missing_only: bool = False) -> None:
        """Save and draw what is due after so many epochs; with `missing_only` not what is there already."""
        place, every = f"e{epoch:06d}", self.epoch_interval
        if every and epoch % every == 0 and epoch < self.num_epochs:
            if not (missing_only and self.saver.has_lora(epoch_suffix(epoch))):
                self._save(epoch_suffix(epoch))
            self.saver.drop_old_epochs(epoch)
        if self.previews.is_scheduled_at_epoch(epoch) and not (missing_only and self.previews.has_samples(place)):
            self._preview(place)
        if self.validation.is_scheduled(self.step, epoch) and not (missing_only and self.validation.is_written(self.step)):
            self._validate("epoch", epoch)

    def _finish(self) -> None:
        self.progress.enter(Phase.SAVING)
        if not self.network.has_learned(self.initial_digests):
            raise TrainerError(
                f"nothing was learned in {self.step} steps: every weight is what it was; the learning rate {self.args.learning_rate} or the "
                "alpha is too small, or the warm-up too long.",
                reason_code=ReasonCode.BAD_OUTPUT,
            )
        if self.args.save_state or self.args.save_state_on_train_end:
            self._save_state("")
        path = self._save_lora("", epoch=self.num_epochs)
        self.progress.enter(Phase.VERIFYING)
        self.saver.check_lora(path)
        self.progress.enter(Phase.DONE, epoch=self.num_epochs)
        print(f"saved {path}", flush=True)

    def _save(self, suffix: str) -> None:
        self.progress.enter(Phase.SAVING)
        self._save_lora(suffix, epoch=self.epoch)
        if self.args.save_state:
            self._save_state(suffix)

    def _save_lora(self, suffix: str, *, epoch: int) -> Path:
        with weights_for_use(self.network, self.optimizer, self.average):
            return self.saver.save_lora(suffix, epoch=epoch, step=self.step)

    def _save_state(self, suffix: str) -> None:
        self.progress.enter(Phase.SAVING)
        state = TrainState(
            step=self.step,
            epoch=self.epoch,
            batch_in_epoch=self.first_batch,
            total_steps=self.total_steps,
            seed=self.args.seed,
            fixed=fixed_settings(self.config, self.data),
            settings=other_settings(self.config, self.data),
            losses=self.console.losses,
            log_folder=self.trackers.log_folder,
            begun_by=self.start.flags(),
        )
        extra = {AVERAGE: self.average.tensors()} if self.average is not None else {}
        self.saver.save_state(suffix, self.optimizer, self.scheduler, state, extra)

    def _preview(self, place: str) -> None:
        self.progress.enter(Phase.SAMPLING, epoch=self.epoch + 1)
        clip = self.clip if self.trains_clip else None
        with weights_for_use(self.network, self.optimizer, self.average):
            self.previews.draw(place, self.flux, self.vae, clip, self.dtype, self.stop.check)
        self.console.rest()

    def _validate(self, kind: str, x: int) -> None:
        with weights_for_use(self.network, self.optimizer, self.average):
            loss = self.validation.run(self.step, self._latents, self._losses, self.stop.check)
        name, divergence = f"loss/validation/{kind}", loss - self.console.average
        self.trackers.log({f"{name}_average": loss, f"{name}_divergence": divergence}, x=x, step=self.step, epoch=self.epoch + 1)
        self.console.rest()

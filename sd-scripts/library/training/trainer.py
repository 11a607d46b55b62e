"""The training loop: epochs of steps, and the hooks between them.

The parts are made and put together in setup.py. Every random number derives from (seed, step), and a checkpoint records the position inside
the epoch, so a resumed training does exactly what the uninterrupted one would have done.
"""

import time

from fluxgym.contract.codes import Phase
from library.data.dataset import Batch, TrainingData
from library.errors import TrainerError
from library.objective import BatchInputs, FlowMatchingLoss
from library.process import StopFlag, StopRequested
from library.training.hooks import Hooks
from library.training.learner import Learner
from library.training.position import Position
from library.training.reporting import Reporter


class Trainer:
    """One training over its parts; `position` is where it begins, and then how far it is."""

    def __init__(
        self,
        *,
        data: TrainingData,
        inputs: BatchInputs,
        loss: FlowMatchingLoss,
        learner: Learner,
        hooks: Hooks,
        reporter: Reporter,
        stop: StopFlag,
        position: Position,
    ) -> None:
        self.data = data
        self.inputs = inputs
        self.loss = loss
        self.learner = learner
        self.hooks = hooks
        self.reporter = reporter
        self.stop = stop
        self.position = position

    def run(self) -> None:
        """Train to the end and save.

        Raises:
            StopRequested: After the state was saved for a stop.
            TrainerError: For a user's mistake.
            Fenced: If another start has the folder.
        """
        try:
            self._train()
        except StopRequested:
            self.stop.check_lease()
            if self.position.step:
                self.hooks.at_stop(self.position)
            raise
        finally:
            self.reporter.close()
        self.stop.check_lease()
        self.hooks.at_end(self.position)

    def _train(self) -> None:
        if self.position.is_resumed:
            self.hooks.catch_up(self.position)
        else:
            self.hooks.at_start(self.position)
        while not self.position.is_at_end:
            self._run_epoch()

    def _run_epoch(self) -> None:
        """Make the steps that are left of the current epoch, then what is scheduled at its end."""
        self.reporter.enter(Phase.TRAINING, epoch=self.position.current_epoch)  # the first step may take long
        before = self.position
        for next_batch, micro_batches in self.data.steps(self.position.epoch, self.position.batch_in_epoch):
            self._run_step(micro_batches, next_batch)
            if self.position.is_at_end:
                break
        if self.position.batch_in_epoch == self.data.num_batches_per_epoch:
            self.position = self.position.after_epoch()  # an epoch that the last step cuts short can be extended by a resume
        if self.position == before:  # otherwise the same epoch would be saved again and again
            raise TrainerError(f"Epoch {before.current_epoch} has no batch after batch {before.batch_in_epoch}; nothing can be trained.")
        self.reporter.report_epoch(self.position)
        self.hooks.after_epoch(self.position)

    def _run_step(self, micro_batches: list[Batch], next_batch: int) -> None:
        """Make one optimizer step over micro-batches, then what is scheduled after it."""
        started, step = time.perf_counter(), self.position.step
        self.learner.begin_step(step)
        losses = [self._backward(batch, micro, len(micro_batches)) for micro, batch in enumerate(micro_batches)]
        loss = sum(losses) / len(losses)
        self.learner.check_loss(loss, step)
        rates = self.learner.step(step)
        self.stop.check_lease()  # before anything of this step is written
        self.position = self.position.after_step(next_batch)
        self.reporter.report_step(self.position, loss, rates, time.perf_counter() - started)
        self.hooks.after_step(self.position)
        if not self.position.is_at_end:
            self.stop.check()

    def _backward(self, batch: Batch, micro: int, num_micro_batches: int) -> float:
        """Add the gradients of one micro-batch; returns its loss."""
        step = self.position.step
        self.learner.begin_micro_batch(step, micro)
        latents = self.inputs.latents(batch, step=step, micro=micro)
        return self.learner.backward(self.loss(batch, latents, step=step, micro=micro), num_micro_batches)

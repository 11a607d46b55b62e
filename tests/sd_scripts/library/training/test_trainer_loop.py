"""The loop over parts that only record: the order of its calls, where a stop ends it, and how the position advances."""

from types import SimpleNamespace

import pytest

from library.errors import TrainerError
from library.process import Fenced, StopFlag, StopRequested
from library.training.hooks import Hook
from library.training.position import Position
from library.training.trainer import Trainer

BATCHES_PER_EPOCH = 4


class Parts(Hook):
    """Stands in for data, inputs, loss, learner, hooks and reporter; `calls` is what the loop asked of them."""

    num_batches_per_epoch = BATCHES_PER_EPOCH

    def __init__(self, stop, stop_after=None):
        self.calls, self.stop, self.stop_after = [], stop, stop_after

    def steps(self, epoch, start_batch):
        for first in range(start_batch, BATCHES_PER_EPOCH, 2):
            yield first + 2, [f"{epoch}.{first}", f"{epoch}.{first + 1}"]

    def latents(self, batch, *, step, micro):
        return f"latents {batch}"

    def __call__(self, batch, latents, *, step, micro):
        assert latents == f"latents {batch}"
        return f"loss of {batch} at {step}.{micro}"

    def begin_step(self, step):
        self.calls.append(f"begin {step}")

    def begin_micro_batch(self, step, micro):
        self.calls.append(f"micro {step}.{micro}")

    def backward(self, losses, num_micro_batches):
        self.calls.append(f"{losses} of {num_micro_batches}")
        return 2.0

    def check_loss(self, loss, step):
        assert loss == 2.0

    def step(self, step):
        self.calls.append(f"learn {step}")
        return {"unet": 0.1}

    def enter(self, phase, **fields):
        self.calls.append(f"{phase} {fields}")

    def report_step(self, position, loss, rates, seconds):
        self.calls.append(f"report {position.step}")

    def report_epoch(self, position):
        self.calls.append(f"report epoch {position.epochs_begun}")

    def close(self):
        self.calls.append("close")

    def at_start(self, position):
        self.calls.append("start")

    def catch_up(self, position):
        self.calls.append("catch up")

    def after_step(self, position):
        self.calls.append(f"after step {position.step}")
        self.stop.is_set = position.step == self.stop_after

    def after_epoch(self, position):
        self.calls.append(f"after epoch {position.epochs_begun}")

    def at_stop(self, position):
        self.calls.append(f"stop at {position.step}")

    def at_end(self, position):
        self.calls.append(f"end at {position.step}")


def make_trainer(stop_after=None, **position):
    stop = StopFlag()
    parts = Parts(stop, stop_after)
    begin = Position(**({"total_steps": 4, "num_epochs": 2} | position))
    return Trainer(data=parts, inputs=parts, loss=parts, learner=parts, hooks=parts, reporter=parts, stop=stop, position=begin), parts


def moments(parts):
    words = ("start", "catch", "after", "stop", "end", "close")
    return [call for call in parts.calls if call.startswith(words)]


def test_step_processes_micro_batches_in_order():
    trainer, parts = make_trainer(total_steps=1)
    trainer.run()
    assert parts.calls == [
        "start", "training {'epoch': 1}", "begin 0", "micro 0.0", "loss of 0.0 at 0.0 of 2", "micro 0.1", "loss of 0.1 at 0.1 of 2", "learn 0",
        "report 1", "after step 1", "report epoch 1", "after epoch 1", "close", "end at 1",
    ]  # fmt: skip
    assert (trainer.position.epoch, trainer.position.batch_in_epoch) == (0, 2)  # the epoch is cut short


def test_hooks_are_called_for_every_step_and_epoch():
    trainer, parts = make_trainer()
    trainer.run()
    assert moments(parts) == [
        "start", "after step 1", "after step 2", "after epoch 1", "after step 3", "after step 4", "after epoch 2", "close", "end at 4",
    ]  # fmt: skip
    assert (trainer.position.step, trainer.position.epoch, trainer.position.batch_in_epoch) == (4, 2, 0)


def test_stop_saves_what_was_done_and_ends_training():
    trainer, parts = make_trainer(stop_after=3)
    with pytest.raises(StopRequested):
        trainer.run()
    assert moments(parts)[-3:] == ["after step 3", "stop at 3", "close"]
    assert (trainer.position.epoch, trainer.position.batch_in_epoch) == (1, 2)


def test_stop_after_last_step_is_ignored():
    trainer, parts = make_trainer(stop_after=4)
    trainer.run()
    assert parts.calls[-1] == "end at 4"


def test_resumed_training_catches_up_and_continues_inside_its_epoch():
    trainer, parts = make_trainer(step=3, epoch=1, batch_in_epoch=2, is_resumed=True)
    trainer.run()
    assert moments(parts) == ["catch up", "after step 4", "after epoch 2", "close", "end at 4"]
    assert "loss of 1.2 at 3.0 of 2" in parts.calls


def test_training_without_remaining_steps_only_saves():
    trainer, parts = make_trainer(step=4, epoch=2, is_resumed=True)
    trainer.run()
    assert parts.calls == ["catch up", "close", "end at 4"]


def test_stop_before_first_step_leaves_nothing_to_save():
    trainer, parts = make_trainer()

    def stop(position):
        raise StopRequested

    trainer.hooks = SimpleNamespace(at_start=stop, at_stop=lambda position: parts.calls.append("stopped"))
    with pytest.raises(StopRequested):
        trainer.run()
    assert parts.calls == ["close"]


def test_failure_closes_reports_and_saves_nothing():
    trainer, parts = make_trainer()

    def fail(position):
        raise ValueError

    parts.after_step = fail
    with pytest.raises(ValueError):
        trainer.run()
    assert moments(parts) == ["start", "close"]


def test_epoch_without_batch_is_not_saved_again_and_again():
    trainer, parts = make_trainer(batch_in_epoch=BATCHES_PER_EPOCH + 1)
    with pytest.raises(TrainerError, match="epoch 1 has no batch after batch 5"):
        trainer.run()
    assert "after epoch 1" not in parts.calls


@pytest.mark.parametrize(("good_checks", "num_reported"), [(0, 0), (1, 1), (2, 1), (3, 2), (7, 4)])
def test_fenced_training_ends_before_it_writes_anything_more(good_checks, num_reported, monkeypatch):
    """The lease is checked in each step before that is reported, with each check for a stop, and before the last save."""
    trainer, parts = make_trainer()
    left = iter(range(good_checks))

    def check_lease():
        if next(left, None) is None:
            raise Fenced

    monkeypatch.setattr(trainer.stop, "check_lease", check_lease)
    with pytest.raises(Fenced):
        trainer.run()
    assert len([call for call in parts.calls if call.startswith("report ") and "epoch" not in call]) == num_reported
    assert parts.calls[-1] == "close"

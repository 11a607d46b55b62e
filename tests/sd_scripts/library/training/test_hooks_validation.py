"""The validation loss: at fixed levels with fixed noise, over the held-out images alone, without an effect on the training."""

import json
from contextlib import nullcontext

import pytest
import torch

from library.flow_matching import validation_sigmas
from library.training.hooks import ValidationHook
from library.training.position import Position
from library.training.progress_log import ProgressLog
from tests.support.photos import write_cats
from tests.support.trainer_config import trainer_config
from tests.support.training_data import make_data, shared_models


class Seen:
    """Stands in for inputs and loss: notes what it is asked, and returns the noise level as the loss."""

    def __init__(self, losses=None):
        self.asked, self.losses = [], losses

    def mean_latents(self, batch):
        assert not torch.is_grad_enabled()
        return batch.pixels.mean(1, keepdim=True)

    def at_sigmas(self, batch, latents, noise, sigmas):
        assert not torch.is_grad_enabled()
        self.asked.append((batch.captions, latents, noise, sigmas))
        return next(self.losses) if self.losses else sigmas.clone()


class Reported:
    """Stands in for the reporter: a real progress.jsonl, and what was reported as (kind, x, step)."""

    def __init__(self, folder):
        self.progress, self.validations = ProgressLog(str(folder)), []

    def report_validation(self, kind, x, loss, position):
        self.progress.step = position.step
        self.progress.write(val_loss=loss)
        self.validations.append((kind, x, position.step))


class Weights:
    """Stands in for the learner."""

    def weights_for_use(self):
        return nullcontext()


@pytest.fixture(name="make")
def fixture_make(tmp_path):
    write_cats(tmp_path / "cats", count=6)

    def make(dataset=None, seen=None, check=lambda: None, **flags):
        subset = {"image_dir": str(tmp_path / "cats"), "caption_extension": ".txt", "flip_aug": True}
        shared = {"validation_split": 0.5} | {name: flags.pop(name) for name in ("validation_split", "seed") if name in flags}
        data = make_data(shared_models(), tmp_path / "d.toml", [subset], dataset=dataset, **shared)
        seen = seen or Seen()
        return ValidationHook(
            config=trainer_config(**({"seed": 1} | shared | flags)).validation, sigmas=validation_sigmas(0, 1000), data=data, inputs=seen,
            loss=seen, learner=Weights(), reporter=Reported(tmp_path / "out"), check=check,
        )  # fmt: skip

    return make


def at(step, *, epoch=0, batch_in_epoch=1):
    return Position(step=step, epoch=epoch, batch_in_epoch=batch_in_epoch, total_steps=12, num_epochs=3)


def test_validation_uses_four_noise_levels_per_image(make):
    validation = make()
    assert validation.compute() == pytest.approx(0.5)
    assert [call[3].tolist() for call in validation.loss.asked] == [
        pytest.approx([level] * n) for n in (2, 1) for level in (0.2, 0.4, 0.6, 0.8)
    ]
    held_out = {image.caption for image in validation.data.held_out}
    assert {caption for call in validation.loss.asked for caption in call[0]} == held_out
    assert len(held_out) == 3


def test_validation_is_repeatable_and_leaves_generators_unchanged(make):
    first, second, third = make(), make(), make(validation_seed=9, seed=1)
    state = torch.get_rng_state()
    first.compute()
    list(first.data.epoch(0))
    second.compute()
    assert torch.equal(state, torch.get_rng_state())
    for one, other in zip(first.loss.asked, second.loss.asked, strict=True):
        assert one[0] == other[0]
        assert all(torch.equal(a, b) for a, b in zip(one[1:], other[1:], strict=True))
    third.compute()
    assert not torch.equal(third.loss.asked[0][2], first.loss.asked[0][2])


def test_validation_weights_images_equally_in_partial_batches(make):
    by_image = iter([torch.tensor([1.0, 3.0])] * 4 + [torch.tensor([8.0])] * 4)
    assert make(dataset={"batch_size": 2}, seen=Seen(by_image)).compute() == pytest.approx(4.0)
    fewer = make(max_validation_steps=1)
    fewer.compute()
    assert len(fewer.loss.asked) == 4


def validated_steps(hook, steps=12, per_epoch=4):
    """Run through a training and return the steps after which it validates."""
    for step in range(1, steps + 1):
        epoch, rest = divmod(step, per_epoch)
        hook.after_step(at(step, epoch=(step - 1) // per_epoch, batch_in_epoch=rest or per_epoch))
        if not rest:
            hook.after_epoch(at(step, epoch=epoch, batch_in_epoch=0))
    return [step for _, _, step in hook.reporter.validations]


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({}, [4, 8, 12]),
        ({"validate_every_n_epochs": 2}, [8]),
        ({"validate_every_n_steps": 6}, [4, 6, 8, 12]),
        ({"validate_every_n_steps": 6, "validate_every_n_epochs": 3}, [6, 12]),
    ],
)
def test_validation_runs_at_intervals_and_once_per_step(flags, expected, make):
    assert validated_steps(make(**flags)) == expected


def test_validation_without_held_out_images_does_not_run(make):
    assert validated_steps(make(validation_split=0.0, validate_every_n_steps=1)) == []


def test_resumed_training_validates_only_what_is_not_written(make):
    hook = make(validate_every_n_steps=2)
    hook.after_step(at(2))
    path = hook.reporter.progress.path
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines[-1]["val_loss"] == pytest.approx(0.5)
    assert (lines[-1]["phase"], lines[-1]["step"]) == ("validating", 2)
    path.write_text(path.read_text() + '{"val_loss": 1, "st')  # torn by a kill
    later = make(validate_every_n_steps=2)
    later.catch_up(at(2))
    assert later.reporter.validations == []
    later.catch_up(at(4))
    assert later.reporter.validations == [("step", 4, 4)]
    at_epoch = make()
    at_epoch.catch_up(at(2, epoch=1, batch_in_epoch=0))
    assert at_epoch.reporter.validations == []
    at_epoch.catch_up(at(6, epoch=2, batch_in_epoch=0))
    assert at_epoch.reporter.validations == [("epoch", 2, 6)]


def test_stop_is_raised_between_batches(make):
    def stop():
        raise KeyboardInterrupt

    hook = make(check=stop)
    with pytest.raises(KeyboardInterrupt):
        hook.compute()
    assert "val_loss" not in hook.reporter.progress.path.read_text()

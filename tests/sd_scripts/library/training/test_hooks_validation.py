"""The validation loss: at fixed levels with fixed noise, over the held-out images alone, without a trace in the training."""

import json
from argparse import Namespace

import pytest
import torch

from library.training.hooks import Validation
from library.training.reporting import ProgressLog
from tests.support.photos import write_cats
from tests.support.training_data import make_data, shared_models


@pytest.fixture(name="make")
def fixture_make(tmp_path):
    write_cats(tmp_path / "cats", count=6)

    def make(dataset=None, **flags):
        subset = {"image_dir": str(tmp_path / "cats"), "caption_extension": ".txt", "flip_aug": True}
        data = make_data(shared_models(), tmp_path / "d.toml", [subset], dataset=dataset, **({"validation_split": 0.5} | flags))
        progress = ProgressLog(str(tmp_path / "out"))
        return Validation(Namespace(**data.config.given), data, progress), progress

    return make


class Seen:
    """Stands in for the model: notes what it is asked, and answers with the noise level."""

    def __init__(self):
        self.asked = []

    def latents(self, batch, micro):
        assert micro is None
        return batch.pixels.mean(1, keepdim=True)

    def losses(self, batch, latents, noise, sigmas, noisy):
        assert torch.allclose(noisy, (1 - sigmas[:, None, None, None]) * latents + sigmas[:, None, None, None] * noise)
        assert not torch.is_grad_enabled()
        self.asked.append((batch.captions, latents, noise, sigmas))
        return sigmas.clone()

    def run(self, validation, step=1):
        return validation.run(step, self.latents, self.losses, lambda: None)


def test_every_image_is_seen_at_the_four_levels(make):
    validation, _ = make()
    seen = Seen()
    assert seen.run(validation) == pytest.approx(0.5)
    assert [call[3].tolist() for call in seen.asked] == [pytest.approx([level] * n) for n in (2, 1) for level in (0.2, 0.4, 0.6, 0.8)]
    held_out = {image.caption for image in validation.data.held_out}
    assert {caption for call in seen.asked for caption in call[0]} == held_out
    assert len(held_out) == 3


def test_levels_lie_inside_the_trained_ones(make):
    assert make()[0].sigmas() == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert make(min_timestep=500, max_timestep=1000)[0].sigmas() == pytest.approx([0.6, 0.7, 0.8, 0.9])


def test_it_is_the_same_again_and_moves_no_generator(make):
    first, second = Seen(), Seen()
    validation, _ = make()
    state = torch.get_rng_state()
    first.run(validation)
    list(validation.data.epoch(0))
    second.run(validation, step=2)
    assert torch.equal(state, torch.get_rng_state())
    for one, other in zip(first.asked, second.asked, strict=True):
        assert one[0] == other[0]
        assert all(torch.equal(a, b) for a, b in zip(one[1:], other[1:], strict=True))
    third = Seen()
    third.run(make(validation_seed=9, seed=1)[0])
    assert not torch.equal(third.asked[0][2], first.asked[0][2])


def test_batches_may_be_fewer_and_images_weigh_alike(make):
    seen = Seen()
    validation, _ = make(dataset={"batch_size": 2})
    by_image = iter([torch.tensor([1.0, 3.0])] * 4 + [torch.tensor([8.0])] * 4)
    assert validation.run(1, seen.latents, lambda *_: next(by_image), lambda: None) == pytest.approx(4.0)
    fewer = Seen()
    fewer.run(make(max_validation_steps=1)[0])
    assert len(fewer.asked) == 4


def due(validation, steps=12, per_epoch=4):
    """Return the steps after which a training would validate."""
    found = []
    for step in range(1, steps + 1):
        if validation.is_scheduled(step) or (step % per_epoch == 0 and validation.is_scheduled(step, step // per_epoch)):
            found.append(step)
            validation.last = step, 0.0
    return found


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({}, [4, 8, 12]),
        ({"validate_every_n_epochs": 2}, [8]),
        ({"validate_every_n_steps": 6}, [4, 6, 8, 12]),
        ({"validate_every_n_steps": 6, "validate_every_n_epochs": 3}, [6, 12]),
    ],
)
def test_when_it_is_due(flags, expected, make):
    assert due(make(**flags)[0]) == expected


def test_nothing_is_due_without_held_out_images(make):
    assert due(make(validation_split=0.0, validate_every_n_steps=1)[0]) == []


def test_the_loss_is_written_so_that_a_resumed_training_knows_it(make):
    validation, progress = make(validate_every_n_steps=2)
    assert not validation.is_written(2)
    progress.step = 2
    Seen().run(validation, step=2)
    lines = [json.loads(line) for line in progress.path.read_text().splitlines()]
    assert lines[-1]["val_loss"] == pytest.approx(0.5)
    assert (lines[-1]["phase"], lines[-1]["step"]) == ("validating", 2)
    progress.path.write_text(progress.path.read_text() + '{"val_loss": 1, "st')  # torn by a kill
    later, _ = make(validate_every_n_steps=2)
    assert later.is_written(2)
    assert not later.is_written(4)


def test_a_stop_is_heard_between_batches(make):
    validation, progress = make()

    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        validation.run(1, Seen().latents, Seen().losses, stop)
    assert "val_loss" not in progress.path.read_text()

"""The optimizers are the libraries' own with kohya's names and arguments; schedules end where the training does."""

from argparse import Namespace

import bitsandbytes
import pytest
import torch
from transformers.optimization import Adafactor

from library.errors import TrainerError
from library.optimizers import clip_gradients, create_optimizer, create_scheduler, parse_arguments


def arguments(**changes):
    defaults = {
        "optimizer_type": "", "optimizer_args": None, "use_8bit_adam": False, "learning_rate": 1e-3, "unet_lr": None, "text_encoder_lr": None,
        "lr_scheduler": "constant", "lr_warmup_steps": 0, "lr_scheduler_args": None, "lr_scheduler_num_cycles": 1, "lr_scheduler_power": 1.0,
        "lr_scheduler_min_lr_ratio": None, "lr_decay_steps": 0, "lr_scheduler_timescale": None,
    }  # fmt: skip
    return Namespace(**(defaults | changes))


def weights():
    torch.manual_seed(0)
    return torch.nn.Parameter(torch.randn(64, 128))


def run(optimizer, parameter, steps=5):
    random = torch.Generator().manual_seed(1)
    for _ in range(steps):
        parameter.grad = torch.randn(parameter.shape, generator=random)
        optimizer.step()
    return parameter.detach()


REFERENCES = {
    ("AdamW", ("weight_decay=0.1",)): lambda p: torch.optim.AdamW([p], lr=1e-3, weight_decay=0.1),
    ("adamw8bit", ()): lambda p: bitsandbytes.optim.AdamW8bit([p], lr=1e-3),
    ("adafactor", ("relative_step=False", "scale_parameter=False", "warmup_init=False")): lambda p: Adafactor(
        [p], lr=1e-3, relative_step=False, scale_parameter=False, warmup_init=False
    ),
}


@pytest.mark.parametrize("name", list(REFERENCES), ids=lambda key: key[0])
def test_each_optimizer_equals_the_librarys_own(name):
    ours, theirs = weights(), weights()
    optimizer = create_optimizer(arguments(optimizer_type=name[0], optimizer_args=list(name[1])), [{"params": [ours], "lr": 1e-3}])
    assert torch.equal(run(optimizer, ours), run(REFERENCES[name](theirs), theirs))
    assert not torch.equal(ours, weights())


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"optimizer_type": "Lionheart"}, "Lionheart"),
        ({"optimizer_type": "AdamW", "optimizer_args": ["wait_decay=1"]}, "wait_decay"),
        ({"optimizer_type": "adafactor"}, "relative_step"),
        ({"optimizer_args": ["weight_decay"]}, "weight_decay"),
        ({"optimizer_args": ["weight_decay=__import__('os')"]}, "weight_decay"),
    ],
)
def test_what_cannot_be_is_refused_by_name(changes, named):
    with pytest.raises(TrainerError, match=named):
        create_optimizer(arguments(**changes), [{"params": [weights()], "lr": 1e-3}])


def test_arguments_are_literals():
    assert parse_arguments("--x", ["betas=(0.9,0.99)", "amsgrad=True", "eps=1e-6"]) == {"betas": (0.9, 0.99), "amsgrad": True, "eps": 1e-6}


def rates(num_steps=10, **changes):
    optimizer = torch.optim.AdamW([weights()], lr=1.0)
    scheduler = create_scheduler(arguments(**changes), optimizer, num_steps)
    seen = []
    for _ in range(num_steps):
        seen.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return [*seen, scheduler.get_last_lr()[0]]


def test_schedules():
    assert rates() == [1.0] * 11
    assert rates(lr_scheduler="constant_with_warmup", lr_warmup_steps=4)[:6] == [0, 0.25, 0.5, 0.75, 1, 1]
    assert rates(lr_scheduler="constant_with_warmup", lr_warmup_steps=0.4)[:6] == [0, 0.25, 0.5, 0.75, 1, 1]
    assert rates(lr_scheduler="linear")[5] == pytest.approx(0.5)
    assert rates(lr_scheduler="cosine")[10] == pytest.approx(0, abs=1e-9)
    assert rates(lr_scheduler="cosine_with_restarts", lr_scheduler_num_cycles=2)[5] == pytest.approx(1.0)
    assert rates(lr_scheduler="polynomial", lr_scheduler_power=2.0)[5] == pytest.approx(0.25, abs=1e-3)
    stable = {"lr_scheduler": "warmup_stable_decay", "lr_warmup_steps": 2, "lr_decay_steps": 0.4}
    assert rates(**stable)[:8] == [0, 0.5, 1, 1, 1, 1, 1, pytest.approx(0.854, abs=1e-3)]
    assert rates(**stable, lr_scheduler_min_lr_ratio=0.1)[10] == pytest.approx(0.1)
    inverse = rates(lr_scheduler="inverse_sqrt", lr_warmup_steps=2, lr_scheduler_timescale=4)
    assert inverse[2] / inverse[6] == pytest.approx(2**0.5, rel=0.01)
    with pytest.raises(TrainerError, match="sawtooth"):
        rates(lr_scheduler="sawtooth")


def test_clipping_limits_the_norm_and_zero_does_not():
    for limit, expected in ((1.0, 1.0), (0.0, 10.0)):
        layer = torch.nn.Linear(4, 1, bias=False)
        layer.weight.grad = torch.full((1, 4), 5.0)
        clip_gradients(layer, limit)
        assert layer.weight.grad.norm() == pytest.approx(expected, rel=1e-4)

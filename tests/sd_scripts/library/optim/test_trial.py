"""An optimizer or a schedule that fails at some step is refused before models are loaded."""

import pytest
import torch

from library.errors import TrainerError
from library.optim.optimizers import NAMES
from library.optim.schedules import SCHEDULES
from library.optim.trial import try_schedule, try_step
from tests.support.trainer_config import trainer_config


def optim_config(**changes):
    return trainer_config(**{"learning_rate": 1e-3} | changes).optim


@pytest.mark.parametrize("name", [*NAMES, "Muon", "RMSprop", "Adagrad"])
def test_each_optimizer_passes_trial_step(name, capsys):
    try_step(optim_config(optimizer_type=name), torch.zeros(2, 2))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["capturable=True"], r"^--optimizer_args capturable=True does not fit AdamW: If capturable=True, params .* devices"),
        (["foreach=True", "fused=True"], "^--optimizer_args foreach=True fused=True does not fit AdamW: `fused` and `foreach`"),
        (["eps=0"], "^--optimizer_args eps=0 does not fit AdamW: its first step makes weights NaN or infinite"),
    ],
)
def test_optimizer_that_cannot_make_step_is_refused_with_one_line(arguments, words):
    with pytest.raises(TrainerError, match=words) as caught:
        try_step(optim_config(optimizer_type="AdamW", optimizer_args=arguments), torch.zeros(2, 2))
    assert "\n" not in str(caught.value)


def test_step_that_another_device_may_be_able_to_make_is_not_refused():
    try_step(optim_config(optimizer_type="AdamW", optimizer_args=["capturable=True"]), torch.zeros(2, 2), is_conclusive=False)


@pytest.mark.parametrize("name", sorted({*SCHEDULES} - {"adafactor", "piecewise_constant"}))
def test_each_schedule_passes_trial(name):
    try_schedule(optim_config(lr_scheduler=name, lr_scheduler_min_lr_ratio=0.1), 5)


def test_adafactor_which_computes_its_rates_passes():
    try_schedule(optim_config(optimizer_type="Adafactor", lr_scheduler="adafactor"), 5)


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("CosineAnnealingLR", ["T_max=0"], "^--lr_scheduler_args T_max=0 does not fit CosineAnnealingLR: integer modulo by zero"),
        ("StepLR", ["step_size=0"], "^--lr_scheduler_args step_size=0 does not fit StepLR: "),
        ("OneCycleLR", ["max_lr=1", "total_steps=3"], "total_steps=3 does not fit OneCycleLR: Tried to step 4 times"),
        ("ExponentialLR", ["gamma=1e30"], "gamma=1e30 does not fit ExponentialLR: the learning rate is 1e[+]57 at step 3"),
    ],
)
def test_schedule_that_fails_at_step_is_refused_with_one_line(name, arguments, words):
    with pytest.raises(TrainerError, match=words) as caught:
        try_schedule(optim_config(lr_scheduler_type=name, lr_scheduler_args=arguments), 5)
    assert "\n" not in str(caught.value)


def test_schedule_is_refused_only_for_steps_that_are_tried():
    try_schedule(optim_config(lr_scheduler_type="OneCycleLR", lr_scheduler_args=["max_lr=1", "total_steps=3"]), 5, tried=1)


def test_warm_up_that_leaves_no_step_with_learning_rate_is_refused():
    with pytest.raises(TrainerError, match=r"^--lr_warmup_steps 5 gives the only step of this training a learning rate of 0"):
        try_schedule(optim_config(lr_scheduler="cosine", lr_warmup_steps=5), 1)
    try_schedule(optim_config(lr_scheduler="cosine", lr_warmup_steps=5), 2)
    try_schedule(optim_config(lr_scheduler="cosine", lr_warmup_steps=5), 100, tried=1)


def test_decay_that_leaves_no_step_with_learning_rate_is_refused():
    with pytest.raises(TrainerError, match=r"^--lr_scheduler warmup_stable_decay gives the only step"):
        try_schedule(optim_config(lr_scheduler="warmup_stable_decay", lr_decay_steps=10_000_000), 1)

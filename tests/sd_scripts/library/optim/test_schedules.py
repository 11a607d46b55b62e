"""Schedules are as long as the training, follow kohya's flags, and continue where they were stopped."""

import pytest
import torch
from transformers.optimization import Adafactor

from library.errors import TrainerError
from library.optim.schedules import create_scheduler, resume_scheduler
from tests.support.trainer_config import trainer_config


def optim_config(**changes):
    return trainer_config(**{"learning_rate": 1e-3} | changes).optim


def weights():
    return torch.nn.Parameter(torch.ones(4, 4))


def rates(num_steps=10, lr=1.0, **changes):
    optimizer = torch.optim.AdamW([weights()], lr=lr)
    scheduler = create_scheduler(optim_config(**changes), optimizer, num_steps)
    seen = []
    for _ in range(num_steps):
        seen.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return [*seen, scheduler.get_last_lr()[0]]


def test_each_schedule_matches_formula():
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
    assert rates(lr_scheduler="constant_with_warmup", lr_warmup_steps=1.0)[:6] == [0, 0.1, 0.2, 0.3, 0.4, 0.5]  # kohya: a float is a share
    assert rates(lr_scheduler="piecewise_constant", lr_scheduler_args=["step_rules='1:3,0.5:6,0.1'"])[2:8] == [1, 0.5, 0.5, 0.5, 0.1, 0.1]
    assert rates(lr_scheduler="cosine_with_min_lr", lr_scheduler_min_lr_ratio=0.2)[10] == pytest.approx(0.2)


def test_schedule_class_is_found_in_torch_or_by_path():
    halved = [1, 1, 0.5, 0.5, 0.25]
    assert rates(lr_scheduler_type="StepLR", lr_scheduler_args=["step_size=2", "gamma=0.5"])[:5] == halved
    assert rates(lr_scheduler_type="torch.optim.lr_scheduler.StepLR", lr_scheduler_args=["step_size=2", "gamma=0.5"])[:5] == halved


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"lr_warmup_steps": 3}, "lr_warmup_steps 3"),
        ({"lr_scheduler": "adafactor"}, "adafactor needs"),
        ({"lr_scheduler_type": "Sawtooth"}, "Sawtooth"),
        ({"lr_scheduler_type": "nowhere.Sawtooth"}, "nowhere"),
        ({"lr_scheduler_type": "ReduceLROnPlateau"}, "ReduceLROnPlateau"),
        ({"lr_scheduler_type": "StepLR"}, "step_size"),
        ({"lr_scheduler": "cosine", "lr_scheduler_args": ["peaks=2"]}, "--lr_scheduler_args peaks=2 does not fit cosine: .*peaks"),
        (
            {"lr_scheduler": "cosine", "lr_scheduler_args": ["num_warmup_steps=2"]},
            "num_warmup_steps=2 is not supported; use --lr_warmup_steps",
        ),
        ({"lr_scheduler": "polynomial", "lr_scheduler_args": ["power=1e400"]}, "--lr_scheduler_args power=1e400 is not supported"),
        ({"lr_scheduler": "piecewise_constant", "lr_scheduler_args": ["step_rules=5"]}, "step_rules=5 does not fit piecewise_constant"),
    ],
)
def test_invalid_value_is_refused(changes, named):
    with pytest.raises(TrainerError, match=named):
        rates(**changes)


def test_adafactor_relative_step_rate_is_reported(capsys):
    parameter = weights()
    optimizer = Adafactor([parameter], lr=None, relative_step=True)
    scheduler = create_scheduler(optim_config(lr_scheduler="cosine"), optimizer, 10)
    assert scheduler.get_last_lr() == [1e-3]
    assert "--lr_scheduler has no effect" in capsys.readouterr().err
    for step in range(1, 4):
        parameter.grad = torch.ones(4, 4)
        optimizer.step()
        scheduler.step()
        size = optimizer.state[parameter]["RMS"]  # of the weights before the step
        assert float(scheduler.get_last_lr()[0]) == pytest.approx(float(min(1e-2, step**-0.5) * size))


def test_schedule_free_optimizer_uses_no_schedule(capsys):
    optimizer = pytest.importorskip("schedulefree").AdamWScheduleFree([weights()], lr=1e-3)
    optimizer.train()
    create_scheduler(optim_config(lr_scheduler="cosine"), optimizer, 10)
    assert "--lr_scheduler has no effect" in capsys.readouterr().err


def resumed(at, num_steps, lr, state, **changes):
    optimizer = torch.optim.AdamW([weights()], lr=lr)
    scheduler = create_scheduler(optim_config(**changes), optimizer, num_steps)
    optimizer.param_groups[0]["lr"] = state["_last_lr"][0]  # as the restored optimizer has it
    resume_scheduler(scheduler, state)
    seen = []
    for _ in range(at, num_steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return seen


@pytest.mark.parametrize(
    "changes", [{"lr_scheduler": "cosine"}, {"lr_scheduler_type": "CosineAnnealingLR", "lr_scheduler_args": ["T_max=10"]}]
)
def test_schedule_is_resumed_with_another_length_or_rate(changes):
    optimizer = torch.optim.AdamW([weights()], lr=1e-3)
    scheduler = create_scheduler(optim_config(**changes), optimizer, 10)
    for _ in range(6):
        optimizer.step()
        scheduler.step()
    state = scheduler.state_dict()
    assert resumed(6, 10, 1e-3, dict(state), **changes) == rates(10, lr=1e-3, **changes)[6:10]  # bit for bit
    assert resumed(6, 10, 5e-4, dict(state), **changes) == pytest.approx(rates(10, lr=5e-4, **changes)[6:10])
    if "lr_scheduler" in changes:
        assert resumed(6, 20, 1e-3, dict(state), **changes) == rates(20, lr=1e-3, **changes)[6:20]

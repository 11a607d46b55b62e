"""The optimizers are the libraries' own, with kohya's names and arguments."""

import sys

import bitsandbytes
import numpy as np
import pytest
import torch
from transformers.optimization import Adafactor

from library.errors import TrainerError
from library.optim.optimizers import NAMES, OPTIMIZERS, clip_gradients, create_optimizer, parse_arguments, rates_of
from tests.support.trainer_config import trainer_config


def optim_config(**changes):
    return trainer_config(**{"learning_rate": 1e-3} | changes).optim


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
    ("PagedAdamW8bit", ()): lambda p: bitsandbytes.optim.AdamW8bit([p], lr=1e-3),  # on a CPU nothing is paged
    ("PagedAdamW", ()): lambda p: bitsandbytes.optim.AdamW([p], lr=1e-3),
    ("PagedAdamW32bit", ()): lambda p: bitsandbytes.optim.AdamW32bit([p], lr=1e-3),
    ("Lion8bit", ()): lambda p: bitsandbytes.optim.Lion8bit([p], lr=1e-3),
    ("PagedLion8bit", ()): lambda p: bitsandbytes.optim.Lion8bit([p], lr=1e-3),
    ("AdEMAMix8bit", ()): lambda p: bitsandbytes.optim.AdEMAMix8bit([p], lr=1e-3),
    ("SGDNesterov", ()): lambda p: torch.optim.SGD([p], lr=1e-3, momentum=0.9, nesterov=True),
    ("SGDNesterov8bit", ("momentum=0.8",)): lambda p: bitsandbytes.optim.SGD8bit([p], lr=1e-3, momentum=0.8, nesterov=True),
    ("adafactor", ("relative_step=False", "scale_parameter=False", "warmup_init=False")): lambda p: Adafactor(
        [p], lr=1e-3, relative_step=False, scale_parameter=False, warmup_init=False
    ),
    ("Adafactor", ()): lambda p: Adafactor([p], lr=None, relative_step=True),
    ("Adafactor", ("relative_step=False", "warmup_init=True")): lambda p: Adafactor([p], lr=None, relative_step=True, warmup_init=True),
    ("RMSprop", ()): lambda p: torch.optim.RMSprop([p], lr=1e-3),
    ("torch.optim.adam.Adam", ("betas=(0.8,0.9)",)): lambda p: torch.optim.Adam([p], lr=1e-3, betas=(0.8, 0.9)),
    ("Prodigy", ("d_coef=2.0",)): lambda p: pytest.importorskip("prodigyopt").Prodigy([p], lr=1e-3, d_coef=2.0),
    ("DAdaptation", ()): lambda p: pytest.importorskip("dadaptation.experimental").DAdaptAdamPreprint([p], lr=1e-3),
    ("DAdaptLion", ()): lambda p: pytest.importorskip("dadaptation").DAdaptLion([p], lr=1e-3),
    ("AdamWScheduleFree", ("warmup_steps=2",)): lambda p: in_training(
        pytest.importorskip("schedulefree").AdamWScheduleFree([p], lr=1e-3, warmup_steps=2)
    ),
}


def in_training(optimizer):
    optimizer.train()
    return optimizer


@pytest.mark.filterwarnings("ignore:Paged optimizers")
@pytest.mark.parametrize("name", list(REFERENCES), ids=lambda key: " ".join((key[0], *key[1])))
def test_each_optimizer_equals_library_implementation(name):
    ours, theirs = weights(), weights()
    reference = REFERENCES[name](theirs)
    optimizer = create_optimizer(optim_config(optimizer_type=name[0], optimizer_args=list(name[1])), [{"params": [ours], "lr": 1e-3}])
    assert torch.equal(run(optimizer, ours), run(reference, theirs))
    assert not torch.equal(ours, weights())


def test_lion_step_matches_paper():
    """Chen et al. 2023, algorithm 2, in NumPy."""
    parameter, random = weights(), torch.Generator().manual_seed(1)
    expected, momentum = parameter.detach().numpy().astype("float64"), 0.0
    for _ in range(5):
        gradient = torch.randn(parameter.shape, generator=random).numpy().astype("float64")
        expected = expected - 1e-3 * (np.sign(0.9 * momentum + 0.1 * gradient) + 0.02 * expected)
        momentum = 0.99 * momentum + 0.01 * gradient
    for old_switch in ({"optimizer_type": "Lion"}, {"use_lion_optimizer": True}):
        ours = weights()
        optimizer = create_optimizer(optim_config(optimizer_args=["weight_decay=0.02"], **old_switch), [{"params": [ours], "lr": 1e-3}])
        assert np.allclose(run(optimizer, ours).numpy(), expected, atol=1e-5)


def test_every_optimizer_choice_can_be_created():
    for name in NAMES:
        if OPTIMIZERS[name.lower()][0].split(".")[0] in ("prodigyopt", "dadaptation", "schedulefree"):
            pytest.importorskip(OPTIMIZERS[name.lower()][0])
        assert isinstance(create_optimizer(optim_config(optimizer_type=name), [{"params": [weights()], "lr": 1.0}]), torch.optim.Optimizer)


def test_learning_rate_names_match_kohya():
    pytest.importorskip("prodigyopt")
    groups = [{"params": [weights()], "lr": 1.0, "name": "unet"}, {"params": [weights()], "lr": 0.5, "name": "textencoder"}]
    assert rates_of(create_optimizer(optim_config(), groups)) == {"unet": 1.0, "textencoder": 0.5}
    prodigy = create_optimizer(optim_config(optimizer_type="Prodigy"), [{"params": [weights()], "lr": 0.5, "name": "unet"}])
    assert rates_of(prodigy) == {"unet": 0.5, "d*lr/unet": 0.5e-6}  # Prodigy begins with d = 1e-6


def test_adaptive_rate_optimizer_requires_equal_learning_rates(capsys):
    pytest.importorskip("prodigyopt")
    groups = [{"params": [weights()], "lr": 1.0}, {"params": [weights()], "lr": 0.5}]
    with pytest.raises(TrainerError, match="one learning rate"):
        create_optimizer(optim_config(optimizer_type="Prodigy"), groups)
    create_optimizer(optim_config(optimizer_type="Prodigy"), [{"params": [weights()], "lr": 1e-4}])
    assert "expects a factor around 1.0" in capsys.readouterr().err


def test_missing_package_is_reported_with_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "prodigyopt", None)
    with pytest.raises(TrainerError, match="pip install prodigyopt"):
        create_optimizer(optim_config(optimizer_type="Prodigy"), [{"params": [weights()], "lr": 1.0}])


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"optimizer_type": "Lionheart"}, "Lionheart"),
        ({"optimizer_args": ["wait_decay=1"]}, "wait_decay=1 is not an argument of AdamW; use one of betas, eps, weight_decay"),
        ({"optimizer_args": ["betas=0.9"]}, r"--optimizer_args betas=0.9 does not fit AdamW; write 2 numbers such as \(0.9,0.999\)"),
        ({"optimizer_args": ["betas=(0.9,)"]}, "write 2 numbers"),
        ({"optimizer_args": ["betas=(0.9,2)"]}, r"--optimizer_args betas=\(0.9,2\) does not fit AdamW: Invalid beta"),
        ({"optimizer_args": ["eps='x'"]}, "--optimizer_args eps=x does not fit AdamW; write a number such as 1e-08"),
        ({"optimizer_args": ["amsgrad='no'"]}, "amsgrad=no does not fit AdamW; write True or False"),
        ({"optimizer_type": "Adafactor", "optimizer_args": ["eps=1e-8"]}, "eps=1e-08 does not fit Adafactor; write 2 numbers"),
        ({"optimizer_args": ["lr=3"]}, "--optimizer_args lr=3 is not supported; use --learning_rate"),
        ({"optimizer_type": "Adafactor", "optimizer_args": ["lr=3"]}, "lr=3 is not supported; use --learning_rate"),
        ({"optimizer_args": ["params=1"]}, "--optimizer_args params=1 is not supported"),
        ({"optimizer_args": ["eps=1e400"]}, "--optimizer_args eps=1e400 is not supported; a number must be from -1e[+]30 to 1e[+]30"),
        ({"optimizer_args": ["weight_decay=1e300"]}, "weight_decay=1e300 is not supported"),
        ({"optimizer_args": ["betas=(0.9,-1e400)"]}, "betas=.* is not supported; a number must be"),
        ({"optimizer_type": "torch.nn.Linear"}, "torch.nn.Linear is not an optimizer"),
        ({"optimizer_type": "nowhere.at.All"}, "nowhere"),
        ({"optimizer_type": "LBFGS"}, "several times per step"),
        ({"optimizer_args": ["weight_decay"]}, "weight_decay"),
        ({"optimizer_args": ["weight_decay=__import__('os')"]}, "weight_decay"),
    ],
)
def test_invalid_value_is_refused(changes, named):
    with pytest.raises(TrainerError, match=named):
        create_optimizer(optim_config(**changes), [{"params": [weights()], "lr": 1e-3}])


def test_optimizer_args_are_parsed_as_literals():
    assert parse_arguments("--x", ["betas=(0.9,0.99)", "amsgrad=True", "eps=1e-6"]) == {"betas": (0.9, 0.99), "amsgrad": True, "eps": 1e-6}


def test_clipping_limits_norm_and_zero_does_not():
    for limit, expected in ((1.0, 1.0), (0.0, 10.0)):
        layer = torch.nn.Linear(4, 1, bias=False)
        layer.weight.grad = torch.full((1, 4), 5.0)
        clip_gradients(layer, limit)
        assert layer.weight.grad.norm() == pytest.approx(expected, rel=1e-4)

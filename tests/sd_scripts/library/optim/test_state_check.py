"""A state of every optimizer that is offered fits it after any number of steps; a state of another one does not."""

import warnings

import pytest
import torch
from torch import nn

from library.optim.optimizers import NAMES, OPTIMIZERS, create_optimizer
from library.optim.state_check import fitting_state
from tests.support.trainer_config import trainer_config

OTHERS = ("torch.optim.NAdam", "torch.optim.RAdam", "torch.optim.Adamax", "torch.optim.ASGD", "torch.optim.Rprop", "torch.optim.RMSprop",
          "torch.optim.Adagrad", "torch.optim.Adadelta", "torch.optim.Adafactor", "torch.optim.SGD")  # fmt: skip
OPTIONS = {
    "Prodigy": (("slice_p=3",), ("use_bias_correction=True",)), "Adafactor": (("relative_step=False", "beta1=0.9"),), "AdamW": (("amsgrad=True",),),
    "AdamW8bit": (("min_8bit_size=16",), ("min_8bit_size=1000",)),
    "SGDNesterov8bit": (("min_8bit_size=16",),), "torch.optim.RMSprop": (("centered=True", "momentum=0.9"),),
}  # fmt: skip
CASES = [(name, options) for name in (*NAMES, *OTHERS) for options in ((), *OPTIONS.get(name, ()))]


def optimizer_of(name, options=(), dtype=torch.float32):
    module = OPTIMIZERS.get(name.lower(), ("torch", ""))[0]
    if module.split(".")[0] not in ("torch", "transformers"):
        pytest.importorskip(module)
    generator = torch.Generator().manual_seed(1)
    down = [nn.Parameter(torch.randn(4, size, generator=generator).to(dtype)) for size in (64, 96, 64)]
    up = [nn.Parameter(torch.zeros(size, 4, dtype=dtype)) for size in (64, 96)]  # as in a new LoRA
    config = trainer_config(optimizer_type=name, optimizer_args=options, learning_rate=1.0 if name.startswith(("Prod", "DAd")) else 1e-3)
    groups = [{"params": down, "lr": config.optim.learning_rate}, {"params": up, "lr": config.optim.learning_rate}]
    return create_optimizer(config.optim, groups)


def make_steps(optimizer, number):
    for step in range(number):
        random = torch.Generator().manual_seed(step)
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = torch.randn(parameter.shape, generator=random).to(parameter)
        optimizer.step()


@pytest.mark.filterwarnings("ignore:Paged optimizers")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("name", "options"), CASES)
def test_saved_state_passes_check_unchanged_after_any_number_of_steps(name, options, dtype):
    optimizer, fresh = optimizer_of(name, options, dtype), optimizer_of(name, options, dtype)
    before = [parameter.clone() for group in fresh.param_groups for parameter in group["params"]]
    for number in (0, 1, 4):
        make_steps(optimizer, number)
        assert fitting_state(fresh, optimizer.state_dict())["state"].keys() == optimizer.state_dict()["state"].keys()
    assert all(torch.equal(a, b) for a, b in zip(before, (p for group in fresh.param_groups for p in group["params"]), strict=True))
    assert all(not state or name == "torch.optim.Adagrad" for state in fresh.state.values())  # which makes its state at once


def test_parameter_that_was_never_trained_has_no_state():
    optimizer, fresh = optimizer_of("AdamW"), optimizer_of("AdamW")
    optimizer.param_groups[0]["params"][1].grad = torch.ones(4, 96)
    optimizer.step()
    assert list(fitting_state(fresh, optimizer.state_dict())["state"]) == [1]


def test_missing_param_group_setting_uses_optimizer_default():
    optimizer, fresh = optimizer_of("AdamW"), optimizer_of("AdamW")
    make_steps(optimizer, 1)
    saved = optimizer.state_dict()
    del saved["param_groups"][0]["eps"]
    assert fitting_state(fresh, saved)["param_groups"][0]["eps"] == fresh.param_groups[0]["eps"]


@pytest.mark.parametrize(("saved", "now"), [("AdamW", "Prodigy"), ("Adafactor", "AdamW"), ("AdamW", "SGDNesterov"), ("Lion", "AdamW")])
def test_state_of_another_optimizer_is_refused(saved, now):
    optimizer = optimizer_of(saved)
    make_steps(optimizer, 1)
    with warnings.catch_warnings(), pytest.raises(ValueError):
        fitting_state(optimizer_of(now), optimizer.state_dict())

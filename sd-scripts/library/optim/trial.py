"""A step of the configured optimizer and the steps of its schedule on a few weights that stand in for the network's, before models are loaded."""

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from io import StringIO

import torch
from torch import Tensor, nn

from fluxgym.contract.learning import LEAST
from library.command import MAX_RATE, explain_error
from library.config import OptimConfig
from library.errors import TrainerError
from library.optim.optimizers import create_optimizer, unfit_optimizer
from library.optim.schedules import create_scheduler, unfit_schedule

LEAST_STEP = 1e-15  # Prodigy's first steps are about 1e-6 of the learning rate's, Adafactor's with warmup_init 1e-9 in all
TRIED_STEPS = 10  # an optimizer may begin to change weights after some steps
MAX_TRIED = 20_000  # steps of a schedule, which take a second


def try_step(config: OptimConfig, weights: Tensor, *, is_conclusive: bool = True) -> None:
    """Make the first steps of the configured optimizer with (2, 2) weights of the device and dtype that are trained.

    Most of their gradients are 0, as those of a new LoRA's down factors are. is_conclusive is False for another device than the training's:
    then an optimizer that cannot make the step there is not refused.

    Raises:
        TrainerError: If the optimizer cannot be created, cannot make the step, or its steps make a weight NaN or infinite, or change none.
    """
    with _silent():
        parameter = nn.Parameter(weights)
        optimizer = _optimizer(config, parameter)
        before = weights[0, 0].item()
        for _ in range(TRIED_STEPS):
            try:
                _step(optimizer, parameter)
            except Exception as error:
                if explain_error(error) is not None:
                    raise
                if is_conclusive:
                    raise unfit_optimizer(config, error) from None
                return
            if not parameter.isfinite().all():
                raise unfit_optimizer(config, "its first step makes weights NaN or infinite")
            if abs(parameter[0, 0].item() - before) >= LEAST_STEP:
                return
    raise unfit_optimizer(config, "its steps leave the weights as they are, so nothing would be learned")


def _step(optimizer: torch.optim.Optimizer, parameter: nn.Parameter) -> None:
    parameter.grad = torch.zeros_like(parameter)
    parameter.grad[0, 0] = 1.0
    optimizer.step()


def try_schedule(config: OptimConfig, num_steps: int, *, tried: int = MAX_TRIED) -> None:
    """Compute the learning rate of the first `tried` steps of a training of `num_steps` steps.

    Raises:
        TrainerError: If the schedule cannot be created, fails at a step, gives a learning rate beyond MAX_RATE, or about 0 for all steps.
    """
    with _silent():
        optimizer = _optimizer(config, nn.Parameter(torch.zeros(2, 2)))
        scheduler = create_scheduler(config, optimizer, num_steps)
        if optimizer.defaults.get("relative_step"):
            return  # Adafactor computes its rates in its steps
        is_zero = True
        for step in range(1, min(num_steps, tried) + 1):
            rate = float(optimizer.param_groups[0]["lr"])
            if not math.isfinite(rate) or abs(rate) > MAX_RATE:
                raise unfit_schedule(config, f"the learning rate is {rate} at step {step}")
            is_zero = is_zero and abs(rate) < LEAST["learning_rate"]
            try:
                scheduler.step()
            except Exception as error:  # noqa: BLE001, a schedule can raise anything
                raise unfit_schedule(config, error) from None
    if is_zero and num_steps <= tried:
        raise _without_rate(config, num_steps)


def _without_rate(config: OptimConfig, num_steps: int) -> TrainerError:
    flag, given = ("lr_warmup_steps", config.lr_warmup_steps) if config.lr_warmup_steps else ("lr_scheduler", config.lr_scheduler)
    steps = "the only step" if num_steps == 1 else f"each of the {num_steps} steps"
    return TrainerError(
        f"--{flag} {given} gives {steps} of this training a learning rate of 0, so nothing would be learned; "
        "shorten the warm-up or train longer."
    )


def _optimizer(config: OptimConfig, parameter: nn.Parameter) -> torch.optim.Optimizer:
    return create_optimizer(config, [{"params": [parameter], "lr": config.learning_rate, "name": "unet"}])


@contextmanager
def _silent() -> Iterator[None]:
    """Discard warnings, which are printed when the training itself creates optimizer and schedule."""
    with redirect_stderr(StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield

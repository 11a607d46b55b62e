"""Learning rate schedules by kohya's names, from torch, transformers and diffusers, and their resume with changed settings."""

import importlib
from typing import Any

import torch
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from library.config import OptimConfig
from library.errors import TrainerError
from library.failures import first_line
from library.optim.optimizers import is_schedule_free

SCHEDULES = (
    "constant", "constant_with_warmup", "linear", "cosine", "cosine_with_restarts", "polynomial", "inverse_sqrt", "cosine_with_min_lr",
    "warmup_stable_decay", "piecewise_constant", "adafactor",
)  # fmt: skip
OWN = {
    "optimizer": "the trainer's optimizer is scheduled",
    "num_warmup_steps": "use --lr_warmup_steps",
    "num_training_steps": "use --max_train_steps or --max_train_epochs",
}  # arguments of the named schedules that the trainer sets itself
WITHOUT_WARMUP = ("constant", "piecewise_constant", "adafactor")


def create_scheduler(config: OptimConfig, optimizer: torch.optim.Optimizer, num_steps: int) -> LRScheduler:
    """Create the configured schedule over `num_steps` optimizer steps.

    --lr_scheduler_type takes precedence, then what the optimizer requires, then --lr_scheduler. A warm-up of at most 1.0 is a fraction of all steps.

    Raises:
        TrainerError: If the name is not a schedule, or the arguments do not fit it.
    """
    special = dict(config.lr_scheduler_args.values)
    try:
        if is_schedule_free(optimizer):
            return LambdaLR(optimizer, lambda _: 1.0)
        if config.lr_scheduler_type:
            return _custom_scheduler(config, optimizer, special)
        if optimizer.defaults.get("relative_step"):
            return _adafactor(config, optimizer)
        return _named(config, optimizer, num_steps, special)
    except TrainerError:
        raise
    except Exception as error:  # noqa: BLE001, a schedule can raise anything
        raise unfit_schedule(config, error) from None


def unfit_schedule(config: OptimConfig, why: Exception | str) -> TrainerError:
    """Return the error that says why the configured schedule cannot be used."""
    flag, name = ("lr_scheduler_type", config.lr_scheduler_type) if config.lr_scheduler_type else ("lr_scheduler", config.lr_scheduler)
    arguments = " ".join(config.lr_scheduler_args.texts)
    subject = f"--lr_scheduler_args {arguments} does not fit {name}" if arguments else f"--{flag} {name} cannot be used"
    return TrainerError(f"{subject}: {first_line(why)}.")


def schedule_warnings(config: OptimConfig, optimizer: torch.optim.Optimizer) -> list[str]:
    """Return a warning if the optimizer leaves the configured schedule without effect."""
    if is_schedule_free(optimizer):
        if config.lr_scheduler == "constant" and not config.lr_scheduler_type and not config.lr_warmup_steps:
            return []
        return ["--lr_scheduler has no effect: a schedule-free optimizer needs none (its warm-up is an optimizer argument)"]
    if config.lr_scheduler_type or not optimizer.defaults.get("relative_step"):
        return []
    if config.lr_scheduler in ("constant", "adafactor") and not config.lr_warmup_steps:
        return []
    return ["--lr_scheduler has no effect: Adafactor with relative_step=True sets its own learning rate"]


def _check_own_arguments(special: dict[str, Any]) -> None:
    """Raise TrainerError for an argument that the trainer sets itself."""
    for name, remedy in OWN.items():
        if name in special:
            raise TrainerError(f"--lr_scheduler_args {name}={special[name]} is not supported; {remedy}.")


def _custom_scheduler(config: OptimConfig, optimizer: torch.optim.Optimizer, special: dict[str, Any]) -> LRScheduler:
    """Create the schedule of --lr_scheduler_type: a class of torch.optim.lr_scheduler, or with dots the import path of a class."""
    module, _, attribute = config.lr_scheduler_type.rpartition(".")
    try:
        scheduler_class = getattr(importlib.import_module(module or "torch.optim.lr_scheduler"), attribute, None)
    except ImportError as error:
        raise TrainerError(f"--lr_scheduler_type {config.lr_scheduler_type} cannot be imported: {error}.") from None
    if not (isinstance(scheduler_class, type) and issubclass(scheduler_class, LRScheduler)) or attribute == "ReduceLROnPlateau":
        raise TrainerError(f"--lr_scheduler_type {config.lr_scheduler_type} is not a schedule over steps.")
    _refuse_warmup(config, config.lr_scheduler_type)
    return scheduler_class(optimizer, **special)


def _adafactor(config: OptimConfig, optimizer: torch.optim.Optimizer) -> LRScheduler:
    """Return a schedule that reports the rate that Adafactor computes, and --learning_rate before the first step."""
    from transformers.optimization import AdafactorSchedule

    return AdafactorSchedule(optimizer, float(config.learning_rate))


def _named(config: OptimConfig, optimizer: torch.optim.Optimizer, num_steps: int, special: dict[str, Any]) -> LRScheduler:
    name = config.lr_scheduler
    if name not in SCHEDULES:
        raise TrainerError(f"--lr_scheduler {name} is not supported; use one of {', '.join(SCHEDULES)}.")
    if name == "adafactor":
        raise TrainerError("--lr_scheduler adafactor needs --optimizer_type Adafactor with relative_step=True.")
    _check_own_arguments(special)
    if name in WITHOUT_WARMUP:
        _refuse_warmup(config, name)
    if name == "piecewise_constant":
        from diffusers.optimization import get_piecewise_constant_schedule

        return get_piecewise_constant_schedule(optimizer, **special)
    from transformers.optimization import get_scheduler

    warmup, decay = (_steps(steps, num_steps) for steps in (config.lr_warmup_steps, config.lr_decay_steps))
    options = _own_flags(config, decay)[name] | special if name in _own_flags(config, decay) else special
    scheduler: LRScheduler = get_scheduler(
        name, optimizer, num_warmup_steps=warmup, num_training_steps=num_steps, scheduler_specific_kwargs=options
    )
    return scheduler


def _own_flags(config: OptimConfig, num_decay_steps: int) -> dict[str, dict[str, Any]]:
    """Return the options of each schedule that has its own flags."""
    cycles, min_ratio = config.lr_scheduler_num_cycles, config.lr_scheduler_min_lr_ratio
    return {
        "cosine_with_restarts": {"num_cycles": cycles},
        "polynomial": {"power": config.lr_scheduler_power},
        "cosine_with_min_lr": {"min_lr_rate": min_ratio, "num_cycles": cycles / 2},
        "inverse_sqrt": {"timescale": config.lr_scheduler_timescale},
        "warmup_stable_decay": {"num_decay_steps": num_decay_steps, "min_lr_ratio": min_ratio or 0.0, "num_cycles": cycles / 2},
    }


def _refuse_warmup(config: OptimConfig, name: str) -> None:
    if config.lr_warmup_steps:
        raise TrainerError(
            f"--lr_warmup_steps {config.lr_warmup_steps} cannot be combined with {name}; use --lr_scheduler constant_with_warmup."
        )


def _steps(given: float, num_steps: int) -> int:
    """Return a number of steps; a float of at most 1.0 is a fraction of all steps."""
    return int(given * num_steps if isinstance(given, float) and given <= 1 else given)


def resume_scheduler(scheduler: LRScheduler, state: dict[str, Any]) -> None:
    """Restore the position of a schedule, with the currently configured curve.

    Unchanged settings restore the saved schedule exactly. With more epochs, the training continues on the longer curve at its current step; with
    another learning rate, the curve is scaled. A schedule that is not a function of the step keeps its state, scaled by the new rate.
    """
    new_rates, groups = list(scheduler.base_lrs), scheduler.optimizer.param_groups
    scheduler.load_state_dict(state)
    old_rates, scheduler.base_lrs = scheduler.base_lrs, new_rates
    if type(scheduler) is LambdaLR:
        rates = [rate * curve(scheduler.last_epoch) for rate, curve in zip(new_rates, scheduler.lr_lambdas, strict=True)]
    else:
        rates = [
            group["lr"] if now == old or not old else group["lr"] * now / old
            for group, now, old in zip(groups, new_rates, old_rates, strict=True)
        ]
    for group, rate, first in zip(groups, rates, new_rates, strict=True):
        group["lr"] = rate
        if "initial_lr" in group:
            group["initial_lr"] = first
    scheduler._last_lr = rates

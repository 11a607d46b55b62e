"""Learning rate schedules by kohya's flags, from torch, transformers and diffusers.

Owns --lr_scheduler, --lr_scheduler_type and what belongs to them, and what becomes of a schedule that is taken up with another length or rate.
"""

import importlib
from argparse import Namespace
from typing import Any

import torch
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from library.errors import TrainerError, warn
from library.optim.optimizers import is_schedule_free, parse_arguments

SCHEDULES = (
    "constant", "constant_with_warmup", "linear", "cosine", "cosine_with_restarts", "polynomial", "inverse_sqrt", "cosine_with_min_lr",
    "warmup_stable_decay", "piecewise_constant", "adafactor",
)  # fmt: skip
WITHOUT_WARMUP = ("constant", "piecewise_constant", "adafactor")


def create_scheduler(args: Namespace, optimizer: torch.optim.Optimizer, num_steps: int) -> LRScheduler:
    """Make the schedule that the flags name, over `num_steps` optimizer steps.

    --lr_scheduler_type comes first, then what the optimizer demands, then --lr_scheduler. A warm-up below 1 is a share of all steps. Raises
    TrainerError for a name that is none and for arguments that do not fit it.
    """
    special = parse_arguments("--lr_scheduler_args", args.lr_scheduler_args)
    try:
        if is_schedule_free(optimizer):
            return _unscheduled(args, optimizer)
        if args.lr_scheduler_type:
            return _foreign(args, optimizer, special)
        if optimizer.defaults.get("relative_step"):
            return _adafactor(args, optimizer)
        return _named(args, optimizer, num_steps, special)
    except (TypeError, ValueError) as error:
        raise TrainerError(f"--lr_scheduler {args.lr_scheduler_type or args.lr_scheduler} cannot be made: {error}") from None


def _unscheduled(args: Namespace, optimizer: torch.optim.Optimizer) -> LRScheduler:
    if args.lr_scheduler != "constant" or args.lr_scheduler_type or args.lr_warmup_steps:
        warn("--lr_scheduler has no effect: a schedule-free optimizer needs none (its warm-up is an optimizer argument)")
    return LambdaLR(optimizer, lambda _: 1.0)


def _foreign(args: Namespace, optimizer: torch.optim.Optimizer, special: dict[str, Any]) -> LRScheduler:
    """Make the schedule whose class --lr_scheduler_type names: one of torch.optim.lr_scheduler, or with dots the path of any."""
    module, _, attribute = args.lr_scheduler_type.rpartition(".")
    try:
        found = getattr(importlib.import_module(module or "torch.optim.lr_scheduler"), attribute, None)
    except ImportError as error:
        raise TrainerError(f"--lr_scheduler_type {args.lr_scheduler_type} cannot be imported: {error}.") from None
    if not (isinstance(found, type) and issubclass(found, LRScheduler)) or attribute == "ReduceLROnPlateau":
        raise TrainerError(f"--lr_scheduler_type {args.lr_scheduler_type} is no schedule that goes by steps.")
    _refuse_warmup(args, args.lr_scheduler_type)
    return found(optimizer, **special)


def _adafactor(args: Namespace, optimizer: torch.optim.Optimizer) -> LRScheduler:
    """Follow the rate that Adafactor sets itself; --learning_rate is only what is shown before its first step."""
    from transformers.optimization import AdafactorSchedule

    if args.lr_scheduler not in ("constant", "adafactor") or args.lr_warmup_steps:
        warn("--lr_scheduler has no effect: Adafactor with relative_step=True sets its own learning rate")
    return AdafactorSchedule(optimizer, float(args.learning_rate))


def _named(args: Namespace, optimizer: torch.optim.Optimizer, num_steps: int, special: dict[str, Any]) -> LRScheduler:
    name = args.lr_scheduler
    if name not in SCHEDULES:
        raise TrainerError(f"--lr_scheduler {name} is not supported; use one of {', '.join(SCHEDULES)}.")
    if name == "adafactor":
        raise TrainerError("--lr_scheduler adafactor needs --optimizer_type Adafactor with relative_step=True.")
    if name in WITHOUT_WARMUP:
        _refuse_warmup(args, name)
    if name == "piecewise_constant":
        from diffusers.optimization import get_piecewise_constant_schedule

        return get_piecewise_constant_schedule(optimizer, **special)
    from transformers.optimization import get_scheduler

    warmup, decay = (_steps(steps, num_steps) for steps in (args.lr_warmup_steps, args.lr_decay_steps))
    options = _own_flags(args, decay)[name] | special if name in _own_flags(args, decay) else special
    return get_scheduler(name, optimizer, num_warmup_steps=warmup, num_training_steps=num_steps, scheduler_specific_kwargs=options)


def _own_flags(args: Namespace, num_decay_steps: int) -> dict[str, dict[str, Any]]:
    """Return what kohya's flags say to each schedule that has options of its own."""
    cycles, least = args.lr_scheduler_num_cycles, args.lr_scheduler_min_lr_ratio
    return {
        "cosine_with_restarts": {"num_cycles": cycles},
        "polynomial": {"power": args.lr_scheduler_power},
        "cosine_with_min_lr": {"min_lr_rate": least, "num_cycles": cycles / 2},
        "inverse_sqrt": {"timescale": args.lr_scheduler_timescale},
        "warmup_stable_decay": {"num_decay_steps": num_decay_steps, "min_lr_ratio": least or 0.0, "num_cycles": cycles / 2},
    }


def _refuse_warmup(args: Namespace, name: str) -> None:
    if args.lr_warmup_steps:
        raise TrainerError(f"--lr_warmup_steps {args.lr_warmup_steps} does not go with {name}; use --lr_scheduler constant_with_warmup.")


def _steps(given: float, num_steps: int) -> int:
    """Return a number of steps; a fraction up to 1.0 is a share of them all."""
    return int(given * num_steps if isinstance(given, float) and given <= 1 else given)


def take_up(scheduler: LRScheduler, state: dict[str, Any]) -> None:
    """Restore a schedule's place and lay its curve again: of the rates and the number of steps that are asked for now.

    With nothing changed this is the restored schedule bit for bit. With more epochs the training goes on on the longer curve, from the step that
    it has reached; with another learning rate the curve is scaled. A schedule that is no function of the step keeps its state, scaled.
    """
    wanted, groups = list(scheduler.base_lrs), scheduler.optimizer.param_groups
    scheduler.load_state_dict(state)
    before, scheduler.base_lrs = scheduler.base_lrs, wanted
    if type(scheduler) is LambdaLR:
        rates = [rate * curve(scheduler.last_epoch) for rate, curve in zip(wanted, scheduler.lr_lambdas, strict=True)]
    else:
        rates = [
            group["lr"] if now == old or not old else group["lr"] * now / old
            for group, now, old in zip(groups, wanted, before, strict=True)
        ]
    for group, rate, first in zip(groups, rates, wanted, strict=True):
        group["lr"] = rate
        if "initial_lr" in group:
            group["initial_lr"] = first
    scheduler._last_lr = rates

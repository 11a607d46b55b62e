"""Optimizers and learning rate schedules by kohya's flags, all from kept libraries: torch, bitsandbytes, transformers.

Owns the translation of --optimizer_type, --optimizer_args, --lr_scheduler and --lr_warmup_steps. Does not own when a step is made.
"""

import ast
import logging
from argparse import Namespace
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler

from library.errors import TrainerError

SCHEDULERS = (
    "constant", "constant_with_warmup", "linear", "cosine", "cosine_with_restarts", "polynomial", "inverse_sqrt", "cosine_with_min_lr",
    "warmup_stable_decay",
)  # fmt: skip


def create_optimizer(args: Namespace, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    """Make the optimizer that --optimizer_type names (AdamW when empty), whatever the case of its letters.

    Raises TrainerError for an unknown name or optimizer_args that it does not take.
    """
    name = (args.optimizer_type or ("AdamW8bit" if args.use_8bit_adam else "AdamW")).lower()
    options = parse_arguments("--optimizer_args", args.optimizer_args)
    if name not in OPTIMIZERS:
        raise TrainerError(f"--optimizer_type {args.optimizer_type} is not supported; use one of AdamW, AdamW8bit, Adafactor.")
    try:
        return OPTIMIZERS[name](groups, float(args.learning_rate), options)
    except (TypeError, ValueError) as error:
        raise TrainerError(f"--optimizer_args does not fit {args.optimizer_type or 'AdamW'}: {error}.") from None


def _adamw(groups: list[dict[str, Any]], rate: float, options: dict[str, Any]) -> torch.optim.Optimizer:
    return torch.optim.AdamW(groups, lr=rate, **options)


def _adamw8bit(groups: list[dict[str, Any]], rate: float, options: dict[str, Any]) -> torch.optim.Optimizer:
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it tells of kernels for 4 bits that nobody asked for
    import bitsandbytes  # loads a native library: only when asked for

    return bitsandbytes.optim.AdamW8bit(groups, lr=rate, **options)


def _adafactor(groups: list[dict[str, Any]], rate: float, options: dict[str, Any]) -> torch.optim.Optimizer:
    from transformers.optimization import Adafactor

    if options.setdefault("relative_step", True):
        raise TrainerError(
            'Adafactor with relative_step=True sets its own learning rate, which is not supported; pass "relative_step=False".'
        )
    return Adafactor(groups, lr=rate, **options)


OPTIMIZERS = {"adamw": _adamw, "adamw8bit": _adamw8bit, "adafactor": _adafactor}


def parse_arguments(flag: str, pairs: list[str] | None) -> dict[str, Any]:
    """Read `key=value` pairs whose values are Python literals; raises TrainerError naming the flag and the pair that is none."""
    parsed = {}
    for pair in pairs or []:
        key, equals, value = pair.partition("=")
        try:
            if not (key.isidentifier() and equals):
                raise ValueError
            parsed[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            raise TrainerError(f"{flag} {pair} cannot be read; write key=value with a number, True, False or a quoted text.") from None
    return parsed


def create_scheduler(args: Namespace, optimizer: torch.optim.Optimizer, num_steps: int) -> LRScheduler:
    """Make the schedule that --lr_scheduler names, over `num_steps` optimizer steps; warm-up below 1 is a share of them."""
    from transformers.optimization import get_scheduler

    if args.lr_scheduler not in SCHEDULERS:
        raise TrainerError(f"--lr_scheduler {args.lr_scheduler} is not supported; use one of {', '.join(SCHEDULERS)}.")
    warmup, decay = (_steps(steps, num_steps) for steps in (args.lr_warmup_steps, args.lr_decay_steps))
    special = parse_arguments("--lr_scheduler_args", args.lr_scheduler_args)
    if args.lr_scheduler == "cosine_with_restarts":
        special.setdefault("num_cycles", args.lr_scheduler_num_cycles)
    if args.lr_scheduler == "polynomial":
        special.setdefault("power", args.lr_scheduler_power)
    if args.lr_scheduler == "cosine_with_min_lr":
        special.setdefault("min_lr_rate", args.lr_scheduler_min_lr_ratio)
    if args.lr_scheduler == "inverse_sqrt":
        special.setdefault("timescale", args.lr_scheduler_timescale)
    if args.lr_scheduler == "warmup_stable_decay":
        special.setdefault("num_decay_steps", decay)
        special.setdefault("min_lr_ratio", args.lr_scheduler_min_lr_ratio or 0.0)
    try:
        return get_scheduler(
            args.lr_scheduler, optimizer, num_warmup_steps=warmup, num_training_steps=num_steps, scheduler_specific_kwargs=special
        )
    except (TypeError, ValueError) as error:
        raise TrainerError(f"--lr_scheduler {args.lr_scheduler} cannot be made: {error}") from None


def _steps(given: float, num_steps: int) -> int:
    """Return a number of steps; one below 1 is a share of them all."""
    return int(given if given >= 1 else given * num_steps)


def clip_gradients(network: nn.Module, max_norm: float) -> None:
    """Limit the gradients' total norm; 0 means no limit."""
    if max_norm:
        nn.utils.clip_grad_norm_(network.parameters(), max_norm)

"""Optimizers by kohya's flags, all from kept libraries: torch, bitsandbytes, transformers, prodigyopt, dadaptation, schedulefree.

Owns the translation of --optimizer_type and --optimizer_args. Schedules are made in schedules.py; does not own when a step is made.
"""

import ast
import importlib
import inspect
from argparse import Namespace
from typing import Any

import torch
from torch import nn

from library.errors import TrainerError, warn

BITSANDBYTES = (
    "AdamW8bit", "PagedAdamW", "PagedAdamW8bit", "PagedAdamW32bit", "Lion", "Lion8bit", "PagedLion8bit", "AdEMAMix8bit", "PagedAdEMAMix8bit",
)  # fmt: skip
D_ADAPTATION = ("DAdaptAdaGrad", "DAdaptAdam", "DAdaptAdan", "DAdaptLion", "DAdaptSGD")
SCHEDULE_FREE = ("AdamWScheduleFree", "RAdamScheduleFree", "SGDScheduleFree")
OPTIMIZERS = (
    {
        "adamw": ("torch.optim", "AdamW"),
        "sgdnesterov": ("torch.optim", "SGD"),
        "sgdnesterov8bit": ("bitsandbytes.optim", "SGD8bit"),
        "adafactor": ("transformers.optimization", "Adafactor"),
        "prodigy": ("prodigyopt", "Prodigy"),
        "dadaptation": ("dadaptation.experimental", "DAdaptAdamPreprint"),
        "dadaptadampreprint": ("dadaptation.experimental", "DAdaptAdamPreprint"),
        "dadaptadanip": ("dadaptation.experimental", "DAdaptAdanIP"),
    }
    | {name.lower(): ("bitsandbytes.optim", name) for name in BITSANDBYTES}
    | {name.lower(): ("dadaptation", name) for name in D_ADAPTATION}
    | {name.lower(): ("schedulefree", name) for name in SCHEDULE_FREE}
)
NAMES = ("AdamW", "SGDNesterov", "SGDNesterov8bit", "Adafactor", *BITSANDBYTES, "Prodigy", "DAdaptation", *D_ADAPTATION, *SCHEDULE_FREE)
FIND_THEIR_RATE = ("prodigy", "dadapt")
PACKAGES = {name: name for name in ("bitsandbytes", "prodigyopt", "dadaptation", "schedulefree")}
_OPTIONAL = inspect.Parameter("closure", inspect.Parameter.KEYWORD_ONLY, default=None)


def optimizer_name(args: Namespace) -> str:
    """Return the optimizer that the flags name: --optimizer_type, or one of kohya's two old switches, or AdamW."""
    if args.optimizer_type:
        return args.optimizer_type
    if args.use_8bit_adam:
        return "AdamW8bit"
    return "Lion" if args.use_lion_optimizer else "AdamW"


def create_optimizer(args: Namespace, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    """Make the optimizer that the flags name, ready to train.

    kohya's names may be written in any case; another name is a class of torch.optim, one with dots the path of any class. Raises
    TrainerError for a name that is none, a package that is missing, or --optimizer_args that the class does not take.
    """
    name = optimizer_name(args)
    options = parse_arguments("--optimizer_args", args.optimizer_args)
    rate: float | None = float(args.learning_rate)
    if name.lower() == "adafactor" and _sets_its_own_rate(options):
        rate, groups = None, [{key: value for key, value in group.items() if key != "lr"} for group in groups]
    if name.lower().startswith("sgdnesterov"):
        options = {"momentum": 0.9, "nesterov": True} | options
    _check_rates(name, groups)
    make = _class_of(name)
    try:
        optimizer = make(groups, lr=rate, **options)
    except (TypeError, ValueError) as error:
        raise TrainerError(f"--optimizer_args does not fit {name}: {error}.") from None
    if is_schedule_free(optimizer):
        optimizer.train()
    return optimizer


def _class_of(name: str) -> type[torch.optim.Optimizer]:
    """Import an optimizer's class; raises TrainerError naming it when there is none that can be stepped without a closure."""
    module, attribute = OPTIMIZERS.get(name.lower()) or (name.rpartition(".")[0] or "torch.optim", name.rpartition(".")[2])
    try:
        found = getattr(importlib.import_module(module), attribute, None)
    except ImportError as error:
        package = PACKAGES.get(module.split(".")[0])
        way_out = f"run `pip install {package}`" if package else "install the package that it belongs to"
        raise TrainerError(f"--optimizer_type {name} cannot be imported ({error}); {way_out}.") from None
    if not (isinstance(found, type) and issubclass(found, torch.optim.Optimizer)) or found is torch.optim.Optimizer:
        raise TrainerError(f"--optimizer_type {name} is no optimizer; use one of {', '.join(NAMES)}, or the path of a class.")
    if found is torch.optim.SparseAdam:
        raise TrainerError(f"--optimizer_type {name} is not supported: it takes sparse gradients, which a LoRA has not.")
    if inspect.signature(found.step).parameters.get("closure", _OPTIONAL).default is inspect.Parameter.empty:
        raise TrainerError(f"--optimizer_type {name} is not supported: it computes the loss several times a step.")
    return found


def _sets_its_own_rate(options: dict[str, Any]) -> bool:
    """Settle Adafactor's relative_step as kohya does: on if not said otherwise, and on with warmup_init; says whether it is on."""
    options["relative_step"] = bool(options.get("relative_step", True) or options.get("warmup_init"))
    return options["relative_step"]


def _check_rates(name: str, groups: list[dict[str, Any]]) -> None:
    """Hold the rates to what optimizers that find their own can do: one factor for all parts, or none for a part that stands still.

    Raises TrainerError for several; a small factor gets a warning.
    """
    rates = {group["lr"] for group in groups if group.get("lr")}
    if not name.lower().startswith(FIND_THEIR_RATE) or not rates:
        return
    if len(rates) > 1:
        raise TrainerError(f"{name} takes one learning rate for all parts; leave --unet_lr and --text_encoder_lr out.")
    if min(rates) <= 0.1:
        warn(f"{name} finds the learning rate itself and expects a factor around 1.0; it was given {min(rates)}")


def is_schedule_free(optimizer: torch.optim.Optimizer) -> bool:
    """Return True if an optimizer averages its weights itself and has to be told when they are used."""
    return callable(getattr(optimizer, "train", None)) and callable(getattr(optimizer, "eval", None))


def rates_of(optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """Return the learning rate of each group by kohya's names: `unet`, `textencoder`; with `d*lr/…` where it is found while training."""
    rates = {}
    for group in optimizer.param_groups:
        name = group["name"]  # by parameter_groups.py
        rates[name] = float(group["lr"] or 0.0)
        if "d" in group:
            rates[f"d*lr/{name}"] = float(group["d"]) * float(group["lr"])
    return rates


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


def clip_gradients(network: nn.Module, max_norm: float) -> None:
    """Limit the gradients' total norm; 0 means no limit."""
    if max_norm:
        nn.utils.clip_grad_norm_(network.parameters(), max_norm)

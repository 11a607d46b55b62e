"""Optimizers by kohya's names, all from maintained libraries: torch, bitsandbytes, transformers, prodigyopt, dadaptation, schedulefree."""

import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeGuard

import torch
from torch import nn

from fluxgym.contract.learning import ESTIMATE_THEIR_RATE
from library.config import OptimConfig
from library.errors import TrainerError
from library.failures import first_line

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
PACKAGES = {name: name for name in ("bitsandbytes", "prodigyopt", "dadaptation", "schedulefree")}
_OPTIONAL = inspect.Parameter("closure", inspect.Parameter.KEYWORD_ONLY, default=None)


class ScheduleFreeOptimizer(torch.optim.Optimizer):
    """The type of an optimizer that averages the weights itself: `train` sets the trained weights, `eval` their average.

    Only for annotations: schedulefree's classes have no common base class.
    """

    train: Callable[[], None]
    eval: Callable[[], None]


def create_optimizer(config: OptimConfig, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    """Create the configured optimizer in training mode.

    kohya's names are case-insensitive; any other name is a class of torch.optim, or with dots the import path of a class.

    Raises:
        TrainerError: If the name is not an optimizer, its package is missing, or it does not accept --optimizer_args.
    """
    name = config.optimizer_type
    options = dict(config.optimizer_args.values)
    _check_own_flags(options)
    rate: float | None = config.learning_rate
    if name.lower() == "adafactor" and _sets_its_own_rate(options):
        rate, groups = None, [{key: value for key, value in group.items() if key != "lr"} for group in groups]
    if name.lower().startswith("sgdnesterov"):
        options = {"momentum": 0.9, "nesterov": True} | options
    _check_rates(name, groups)
    make = _class_of(name)
    _check_kinds(name, make, options)
    try:
        optimizer = make(groups, lr=rate, **options)
    except Exception as error:  # noqa: BLE001, an optimizer can raise anything
        raise unfit_optimizer(config, error) from None
    if is_schedule_free(optimizer):
        optimizer.train()
    return optimizer


def unfit_optimizer(config: OptimConfig, why: Exception | str) -> TrainerError:
    """Return the error that says why the configured optimizer cannot be used."""
    name, arguments = config.optimizer_type, " ".join(config.optimizer_args.texts)
    subject = f"--optimizer_args {arguments} does not fit {name}" if arguments else f"--optimizer_type {name} cannot be used"
    return TrainerError(f"{subject}: {first_line(why)}.")


def _class_of(name: str) -> Callable[..., torch.optim.Optimizer]:
    """Import an optimizer's class.

    Raises:
        TrainerError: If it is missing or its step needs a closure.
    """
    module, attribute = OPTIMIZERS.get(name.lower()) or (name.rpartition(".")[0] or "torch.optim", name.rpartition(".")[2])
    try:
        optimizer_class = getattr(importlib.import_module(module), attribute, None)
    except ImportError as error:
        package = PACKAGES.get(module.split(".")[0])
        remedy = f"run `pip install {package}`" if package else "install the package that it belongs to"
        raise TrainerError(f"--optimizer_type {name} cannot be imported ({error}); {remedy}.") from None
    if (
        not (isinstance(optimizer_class, type) and issubclass(optimizer_class, torch.optim.Optimizer))
        or optimizer_class is torch.optim.Optimizer
    ):
        raise TrainerError(f"--optimizer_type {name} is not an optimizer; use one of {', '.join(NAMES)}, or the path of a class.")
    if optimizer_class is torch.optim.SparseAdam:
        raise TrainerError(f"--optimizer_type {name} is not supported: it needs sparse gradients, and a LoRA has dense ones.")
    if inspect.signature(optimizer_class.step).parameters.get("closure", _OPTIONAL).default is inspect.Parameter.empty:
        raise TrainerError(f"--optimizer_type {name} is not supported: it computes the loss several times per step.")
    return optimizer_class


def _check_own_flags(options: Mapping[str, Any]) -> None:
    """Raise TrainerError for an argument that has a flag of its own, or that is the trained weights."""
    if "lr" in options:
        raise TrainerError(f"--optimizer_args lr={options['lr']} is not supported; use --learning_rate.")
    if "params" in options:
        raise TrainerError(f"--optimizer_args params={options['params']} is not supported; the network's weights are trained.")


def _check_kinds(name: str, make: Callable[..., object], options: Mapping[str, Any]) -> None:
    """Raise TrainerError naming the first argument that the optimizer does not have, or whose default is of another kind."""
    parameters = inspect.signature(make).parameters
    takes_any = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values())
    for key, value in options.items():
        if key not in parameters:
            if takes_any:
                continue
            names = ", ".join(each for each in parameters if each not in ("params", "lr"))
            raise TrainerError(f"--optimizer_args {key}={value} is not an argument of {name}; use one of {names}.")
        if remedy := _other_kind(parameters[key].default, value):
            raise TrainerError(f"--optimizer_args {key}={value} does not fit {name}; write {remedy}.")


def _other_kind(default: object, value: object) -> str:
    """Return what to write instead of a value that is of another kind than the default; "" if it is of the same kind."""
    if isinstance(default, (tuple, list)) and default:
        fits = isinstance(value, (tuple, list)) and len(value) == len(default) and all(isinstance(each, (int, float)) for each in value)
        return "" if fits else f"{len(default)} numbers such as ({','.join(map(str, default))})"
    if isinstance(default, (int, float)) and value is not None and not isinstance(value, (int, float)):
        return f"True or False, such as {default}" if isinstance(default, bool) else f"a number such as {default}"
    return ""


def _sets_its_own_rate(options: dict[str, Any]) -> bool:
    """Set Adafactor's relative_step as kohya does (by default, and always with warmup_init) and return it."""
    relative_step = bool(options.get("relative_step", True) or options.get("warmup_init"))
    options["relative_step"] = relative_step
    return relative_step


def _check_rates(name: str, groups: Sequence[Mapping[str, Any]]) -> None:
    """Raise TrainerError if the parts have different rates for an optimizer that estimates its own, for which it is one factor for all parts."""
    if len(_factors(name, groups)) > 1:
        raise TrainerError(f"{name} takes one learning rate for all parts; leave --unet_lr and --text_encoder_lr out.")


def optimizer_warnings(config: OptimConfig, groups: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a warning if the factor of an optimizer that estimates its learning rate is small."""
    name, factor = config.optimizer_type, min(_factors(config.optimizer_type, groups), default=1.0)
    if factor > 0.1:
        return []
    return [f"{name} estimates the learning rate itself and expects a factor around 1.0; --learning_rate is {factor}"]


def _factors(name: str, groups: Sequence[Mapping[str, Any]]) -> set[float]:
    """Return the rates of the groups if the optimizer estimates its learning rate, which they then multiply."""
    return {group["lr"] for group in groups if group.get("lr")} if name.lower().startswith(ESTIMATE_THEIR_RATE) else set()


def is_schedule_free(optimizer: torch.optim.Optimizer) -> TypeGuard[ScheduleFreeOptimizer]:
    """Return True if an optimizer averages the weights itself and has train and eval modes."""
    return callable(getattr(optimizer, "train", None)) and callable(getattr(optimizer, "eval", None))


def rates_of(optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """Return the learning rate of each group by kohya's names: `unet`, `textencoder`; also `d*lr/…` where the optimizer estimates it."""
    rates = {}
    for group in optimizer.param_groups:
        name = group["name"]  # set by networks.factory
        rates[name] = float(group["lr"] or 0.0)
        if "d" in group:
            rates[f"d*lr/{name}"] = float(group["d"]) * float(group["lr"])
    return rates


def clip_gradients(network: nn.Module, max_norm: float) -> None:
    """Clip the gradients' total norm to `max_norm`; 0 disables clipping."""
    if max_norm:
        nn.utils.clip_grad_norm_(network.parameters(), max_norm)

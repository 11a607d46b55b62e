"""Check that a saved state fits an optimizer, before it is loaded.

A state of another shape would end in a traceback at the next step, or would be used without an error. The reference is a copy of the
optimizer with one small parameter of each kind, which makes one step: a saved state fits if it has the same parts as the state of this
copy.
"""

import math
from collections import defaultdict
from collections.abc import Iterator
from copy import deepcopy
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn

MAX_STEP = 2**53  # beyond it, a float has not every whole number
GRADIENT = 1e-3  # DAdaptSGD divides by its norm
SQUARES = "exp_avg_sq"  # the start of the names of averages of squares
ParameterSignature = tuple[int, torch.Size, torch.dtype]  # index of the group, shape and dtype of a parameter


def fitting_state(optimizer: torch.optim.Optimizer, saved: dict[str, Any]) -> dict[str, Any]:
    """Return a saved state, with the optimizer's own values for settings that it lacks.

    Raises:
        ValueError: If a tensor has another shape or type than the optimizer makes, a number is not finite or out of range, or a part is
            missing. The message names the part.
        KeyError, TypeError, AttributeError, IndexError: If it is not a state at all.
    """
    groups = [_fitting_group(own, group) for own, group in zip(_settings(optimizer), saved["param_groups"], strict=True)]
    indices = [index for group in groups for index in group["params"]]
    examples = [_examples(optimizer, value) for value in (1.0, 0.0)]  # Prodigy keeps one number instead of a weight of zeros
    signatures = [_signature(number, parameter) for number, group in enumerate(optimizer.param_groups) for parameter in group["params"]]
    for index, signature in zip(indices, signatures, strict=True):
        if state := saved["state"].get(index):
            _check_state(_flat(state), [example.get(signature, {}) for example in examples], f"parameter {index}")
    return {**saved, "param_groups": groups}


def _settings(optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
    return [{name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups]


def _fitting_group(own: dict[str, Any], saved: dict[str, Any]) -> dict[str, Any]:
    for name, value in own.items():
        if name in saved and not _is_like(value, saved[name]):
            raise ValueError(f"{name} is {str(saved[name])[:40]}")
    return own | saved


def _is_like(own: Any, saved: Any) -> bool:
    """Return True if a saved setting can stand for the optimizer's own: of the same kind, and finite unless the own one is infinite too."""
    if own is None or saved is None:
        return True
    if isinstance(own, (tuple, list)):
        return isinstance(saved, (tuple, list)) and len(own) == len(saved) and all(map(_is_like, own, saved))
    if isinstance(own, (bool, str)):
        return type(saved) is type(own)
    is_number = _number(saved) is not None or (isinstance(saved, float) and saved == own)
    return is_number or not isinstance(own, (Real, Tensor))


def _number(value: Any) -> float | None:
    """Return a finite number, or the only one of a tensor; None for anything else."""
    if isinstance(value, Tensor) and value.numel() == 1:
        value = value.item()
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    try:
        return float(value) if is_number and math.isfinite(value) else None
    except OverflowError:  # a whole number of hundreds of digits
        return None


def _signature(group: int, parameter: nn.Parameter) -> ParameterSignature:
    return group, parameter.shape, parameter.dtype


def _examples(optimizer: torch.optim.Optimizer, value: float) -> dict[ParameterSignature, dict[str, Any]]:
    """Return the state that the optimizer makes for one parameter of each kind, all of whose weights have a value."""
    twin = object.__new__(type(optimizer))  # a copy would lack what bitsandbytes keeps beside the groups
    twin.__dict__.update({name: kept for name, kept in vars(optimizer).items() if name != "step"})  # a schedule wraps `step` of its own
    twin.state, twin.param_groups, all_signatures = defaultdict(dict), [], list[ParameterSignature]()
    for number, (group, settings) in enumerate(zip(optimizer.param_groups, _settings(optimizer), strict=True)):
        signatures = {_signature(number, parameter): parameter for parameter in group["params"]}
        copies = [_example(parameter, value) for parameter in signatures.values()]
        twin.param_groups.append({**deepcopy(settings), "params": copies})
        twin.state |= {
            copy: deepcopy(state) for copy, each in zip(copies, signatures.values(), strict=True) if (state := optimizer.state.get(each))
        }
        all_signatures += signatures
    twin.step()
    made = twin.state_dict()["state"]  # bitsandbytes wraps some of it
    return {signature: _flat(made[index]) for index, signature in enumerate(all_signatures) if index in made}


def _flat(state: dict[str, Any]) -> dict[str, Any]:
    """Return one parameter's state by name, without the dictionaries in it."""
    parts = [_flat(value) if isinstance(value, dict) else {name: value} for name, value in state.items()]
    return {name: value for part in parts for name, value in part.items()}


def _example(parameter: nn.Parameter, value: float) -> nn.Parameter:
    copy = nn.Parameter(torch.full_like(parameter, value))
    copy.grad = torch.full_like(parameter, GRADIENT)
    return copy


def _check_state(state: dict[str, Any], examples: list[dict[str, Any]], where: str) -> None:
    """Raise ValueError naming the first part of one parameter's state that is missing or differs from all examples."""
    for name in sorted(set.intersection(*map(set, examples))):
        if name not in state:
            raise ValueError(f"{name} of {where} is missing")
    for name, value in state.items():
        known = [example[name] for example in examples if name in example]
        if fault := next(_faults(name, value, known), ""):
            raise ValueError(f"{name} of {where} {fault}")


def _faults(name: str, value: Any, known: list[Any]) -> Iterator[str]:
    if isinstance(value, Tensor):
        shapes = [tuple(each.shape) if isinstance(each, Tensor) else () for each in known]
        if known and tuple(value.shape) not in shapes:
            yield f"has the shape {tuple(value.shape)} instead of {' or '.join(map(str, dict.fromkeys(shapes)))}"
        if known and not any(_is_same_kind(value, each) for each in known):
            yield f"is of the type {value.dtype}"
        if not value.isfinite().all():
            yield "has NaN or infinity"
        if name.startswith(SQUARES) and value.is_floating_point() and (value < 0).any():
            yield "is negative"
    elif any(isinstance(each, (Real, Tensor)) for each in known) and not isinstance(value, bool) and _number(value) is None:
        yield f"is {str(value)[:40]}"
    if name == "step" and not 0 <= (_number(value) or 0.0) <= MAX_STEP:
        yield f"is {_number(value):g}"


def _is_same_kind(value: Tensor, example: Any) -> bool:
    """Return True for two signatures of floats, and for the same kind of whole numbers, such as the bytes of 8-bit states."""
    if not isinstance(example, Tensor):
        return True
    return value.dtype == example.dtype or (value.is_floating_point() and example.is_floating_point())

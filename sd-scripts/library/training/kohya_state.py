"""Resuming from a state folder that kohya's trainer wrote: network, optimizer and position.

Such a resume is inexact: the folder does not record the remaining images of the epoch, and kohya draws random numbers differently, so
random_states_0.pkl is ignored. Pickles are read with PyTorch's restricted unpickler (weights_only=True), which runs no code.
"""

import json
import pickle
import re
from itertools import permutations
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler

from fluxgym.contract.checkpoint_manifest import KOHYA_STEP
from fluxgym.contract.codes import ReasonCode
from fluxgym.contract.files import KOHYA_OPTIMIZER, KOHYA_POSITION, KOHYA_SCHEDULER, MANIFEST, NETWORK, TRAIN_STATE
from library.config import TrainerConfig
from library.errors import TrainerError
from library.optim.schedules import resume_scheduler
from library.training.checkpoint import TrainState, restore_optimizer, tensors_in
from library.weights.safetensors_file import open_weights
from networks.base import TrainedNetwork
from networks.low_rank import ALPHA

WEIGHT_SHAPED_STATES = ("exp_avg", "state1", "momentum_buffer", "z", "s")
STATE_NAMES = {"AdamW": {"exp_avg"}, "bitsandbytes": {"state1"}, "Adafactor": {"exp_avg_sq", "exp_avg_sq_row"}, "Prodigy": {"p0"}}
LEARNED = (
    "d",
    "d_max",
    "d0",
    "d_hat",
    "d_numerator",
    "d_denom",
    "k",
    "numerator_weighted",
    "g0_norm",
    "lr_max",
    "weight_sum",
    "scheduled_lr",
)


def is_kohya_state(folder: Path) -> bool:
    """Return True if a folder is a state of kohya's trainer."""
    return (folder / KOHYA_OPTIMIZER).is_file() and not (folder / MANIFEST).exists()


def position_of(folder: Path, config: TrainerConfig, steps_per_epoch: int) -> TrainState:
    """Return the position of a state; --initial_step and --initial_epoch override it.

    The position file of FluxGym's supervisor takes precedence, then the scheduler's count, because kohya's own count restarts at each resume.

    Raises:
        TrainerError: If none of them exists.
    """
    noted, counted = _numbers(folder / KOHYA_POSITION).get("step"), _numbers(folder / TRAIN_STATE).get(KOHYA_STEP)
    scheduled = unpickle(folder / KOHYA_SCHEDULER).get("last_epoch") if (folder / KOHYA_SCHEDULER).is_file() else None
    step = next((number for number in (noted, scheduled, counted) if isinstance(number, int) and number > 0), None)
    if step is None:
        raise TrainerError(f"--resume {folder}: neither {TRAIN_STATE} nor {KOHYA_SCHEDULER} contains its step.")
    start = config.run.start
    if start.initial_step is not None:
        step = start.initial_step
    elif start.initial_epoch is not None:
        step = (start.initial_epoch - 1) * steps_per_epoch
    epoch, rest = divmod(step, steps_per_epoch)
    return TrainState(
        step=step,
        epoch=epoch,
        batch_in_epoch=rest * config.optim.gradient_accumulation_steps,
        total_steps=0,
        seed=config.run.seed,
        fixed={},
        begun_by=start.flags(),
    )


def _numbers(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def unpickle(path: Path) -> dict[str, Any]:
    """Read a torch.save file that contains only tensors and plain values.

    Raises:
        TrainerError: If it contains anything else; the message names it.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        other = re.search(r"GLOBAL ([\w.]+)", str(error))
        content = other[1] if other else "more than tensors and numbers"
        raise TrainerError(
            f"{path} is not read: it contains {content}, and such a file could run any code.", reason_code=ReasonCode.BAD_MODEL
        ) from None
    except Exception as error:  # noqa: BLE001, damaged content can raise anything in the unpickler
        raise TrainerError(
            f"{path} is damaged: {(str(error) or type(error).__name__).splitlines()[0]}.", reason_code=ReasonCode.BAD_MODEL
        ) from None
    if not isinstance(state, dict):
        raise TrainerError(f"{path} is not a state of kohya's trainer: it contains no dictionary.", reason_code=ReasonCode.BAD_MODEL)
    return state


def load_kohya_state(folder: Path, network: TrainedNetwork, optimizer: torch.optim.Optimizer, scheduler: LRScheduler, step: int) -> None:
    """Restore network and optimizer, and set the scheduler to `step`.

    Raises:
        TrainerError: If they do not fit.
    """
    if not (folder / NETWORK).is_file():
        raise TrainerError(f"--resume {folder}: it has no {NETWORK}; states with the network as a pickle are not supported.")
    weights, own = open_weights(folder / NETWORK, "The state's network"), network.state_dict()
    for name, tensor in weights.items():
        if name.endswith(f".{ALPHA}") and name in own and tensor.numel() == 1 and own[name].item() != tensor.item():
            raise TrainerError(f"--resume {folder}: it was made with --network_alpha {tensor.item():g}, now it is {own[name].item():g}.")
    network.load(weights, str(folder))
    saved = unpickle(folder / KOHYA_OPTIMIZER)
    if not _is_optimizer_state(saved):
        raise TrainerError(
            f"{folder / KOHYA_OPTIMIZER} is damaged: it does not hold the state of an optimizer.", reason_code=ReasonCode.BAD_MODEL
        )
    try:
        restore_optimizer(optimizer, {"state": _in_our_order(optimizer, saved), "param_groups": _groups(optimizer, saved)})
    except (KeyError, ValueError, TypeError) as error:
        raise TrainerError(
            f"--resume {folder}: its {KOHYA_OPTIMIZER} belongs to another optimizer or to other parameters ({error}); use the flags that it was made with."
        ) from None
    resume_scheduler(scheduler, scheduler.state_dict() | {"last_epoch": step, "_step_count": step + 1})


def _is_optimizer_state(saved: dict[str, Any]) -> bool:
    """Return True if a state has the layout of PyTorch's optimizers."""
    states, groups = saved.get("state"), saved.get("param_groups")
    if not isinstance(states, dict) or not isinstance(groups, list):
        return False
    return all(isinstance(state, dict) for state in states.values()) and all(
        isinstance(group, dict) and isinstance(indices := group.get("params"), list) and all(isinstance(index, int) for index in indices)
        for group in groups
    )


def _in_our_order(optimizer: torch.optim.Optimizer, saved: dict[str, Any]) -> dict[int, Any]:
    """Return the saved states by our parameter indices: kohya orders groups differently, but parameters within a group identically.

    Raises:
        ValueError: If no order of our groups has the saved counts and shapes.
    """
    theirs = [[saved["state"].get(index, {}) for index in group["params"]] for group in saved["param_groups"]]
    ours = [group["params"] for group in optimizer.param_groups]
    for order in permutations(range(len(ours))):
        if [len(ours[group]) for group in order] == [len(states) for states in theirs] and all(
            _fits(state, parameter)
            for group, states in zip(order, theirs, strict=True)
            for state, parameter in zip(states, ours[group], strict=True)
        ):
            by_group = dict(zip(order, theirs, strict=True))
            return dict(enumerate(state for group in range(len(ours)) for state in by_group[group]))
    raise ValueError("the numbers or shapes of the parameters differ")


def _fits(state: dict[str, Any], parameter: nn.Parameter) -> bool:
    return all(tensor.shape == parameter.shape for name, tensor in tensors_in(state) if name in WEIGHT_SHAPED_STATES)


def _groups(optimizer: torch.optim.Optimizer, saved: dict[str, Any]) -> list[dict[str, Any]]:
    """Return our groups with the learned values of the saved groups, such as Prodigy's `d`; flags set all other values.

    Raises:
        KeyError: If the saved states belong to another kind of optimizer.
    """
    kind = "bitsandbytes" if type(optimizer).__module__.startswith("bitsandbytes") else type(optimizer).__name__
    for state in list(saved["state"].values())[:1]:
        names = {name for name, _ in tensors_in(state)}
        if kind in STATE_NAMES and not names & STATE_NAMES[kind]:
            raise KeyError(f"it contains {', '.join(sorted(names))}")
    own, theirs = optimizer.state_dict()["param_groups"], saved["param_groups"]
    return [group | {name: value for name, value in other.items() if name in LEARNED} for group, other in zip(own, theirs, strict=True)]

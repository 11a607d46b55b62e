"""Atomic checkpoints from which a run resumes exactly.

A checkpoint is a folder with kohya's name (`{name}-{epoch:06d}-state`, `{name}-step{step:08d}-state`, `{name}-state`). It contains the network
and the optimizer as safetensors, everything else as JSON, and a manifest with the hash of each file. It contains no pickles.
"""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from fluxgym.contract.checkpoint_manifest import FileFault, Manifest, digest, find_fault, find_state_fault, find_unlisted
from fluxgym.contract.files import (
    LORA_ENDING,
    MANIFEST,
    NETWORK,
    OPTIMIZER,
    OPTIMIZER_JSON,
    RUN_ID_VARIABLE,
    SCHEDULER,
    STATE_ENDING,
    TRAIN_STATE,
)
from fluxgym.contract.regular_files import read_regular
from library.errors import CheckpointError, TrainerError
from library.files import complete_folder, write_json
from library.optim.optimizer_state import fitting_state
from library.optim.schedules import resume_scheduler
from library.weights.safetensors_file import open_weights, save_tensors
from networks.base import TrainedNetwork

TENSOR = "__tensor__"
MAX_JSON_BYTES = 256 << 20  # the skeleton of an optimizer's state
UNFIT = (KeyError, ValueError, TypeError, AttributeError, IndexError, SafetensorError)


@dataclass(frozen=True, kw_only=True)
class TrainState:
    """The position of a run (completed steps, completed epochs, and batches of the current epoch) and its settings.

    A resume requires the same `fixed` settings and prints changes of `settings`. `losses` are the losses of the moving average, `log_folder` is
    the trackers' folder in --logging_dir, and `begun_by` contains the flags of the initial position, if it was not the beginning.
    """

    step: int
    epoch: int
    batch_in_epoch: int
    total_steps: int
    seed: int
    fixed: dict[str, Any]
    settings: dict[str, Any] = field(default_factory=dict)
    losses: list[float] = field(default_factory=list)
    log_folder: str = ""
    begun_by: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class CheckpointParts:
    """What a checkpoint holds of a training in progress.

    `extra` contains further tensors by file name: {"average": {...}} becomes average.safetensors.
    """

    network: TrainedNetwork
    optimizer: torch.optim.Optimizer
    scheduler: LRScheduler
    extra: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)


def save_checkpoint(folder: Path, parts: CheckpointParts, state: TrainState) -> None:
    """Write a checkpoint atomically; on failure, an older checkpoint of the same name is kept."""
    with complete_folder(folder) as tmp_path:
        save_tensors(parts.network.weights(), tmp_path / NETWORK)
        tensors: dict[str, Tensor] = {}
        skeleton = _take_tensors(parts.optimizer.state_dict(), "", tensors)
        if tensors:  # plain SGD has no state
            save_tensors(tensors, tmp_path / OPTIMIZER)
        write_json(skeleton, tmp_path / OPTIMIZER_JSON)
        for name, part in parts.extra.items():
            save_tensors(part, tmp_path / f"{name}.safetensors")
        write_json(_plain(parts.scheduler.state_dict()), tmp_path / SCHEDULER)
        write_json(asdict(state), tmp_path / TRAIN_STATE)
        manifest = Manifest(
            files={path.name: digest(path) for path in sorted(tmp_path.iterdir())}, step=state.step, epoch=state.epoch,
            total_steps=state.total_steps, run_id=os.environ.get(RUN_ID_VARIABLE, ""),
        )  # fmt: skip
        write_json(manifest.to_json(), tmp_path / MANIFEST)


def verify_checkpoint(folder: Path) -> None:
    """Raise TrainerError naming the first file of a checkpoint that is missing or damaged."""
    manifest = read_manifest(folder)
    match find_fault(folder, manifest, verify=True):
        case (name, FileFault.MISSING):
            raise _damaged(folder, f"it lacks {name}")
        case (name, _):
            raise _damaged(folder, f"{name} has changed since it was written")
    if missing := find_unlisted(manifest):
        raise _damaged(folder, f"its manifest does not list {missing}")


def _damaged(folder: Path, fault: str) -> CheckpointError:
    return CheckpointError(f"The checkpoint {folder} is damaged: {fault}.", folder.name)


def read_manifest(folder: Path) -> Manifest:
    """Return a checkpoint's manifest.

    Raises:
        TrainerError: If it is missing or damaged.
    """
    try:
        return Manifest.from_json(_read_json(folder, MANIFEST))
    except ValueError:
        raise _damaged(folder, f"{MANIFEST} was not written by this trainer") from None


def is_complete(folder: Path) -> bool:
    """Return True if a folder is a complete and undamaged checkpoint."""
    try:
        verify_checkpoint(folder)
        _parse_state(folder)
    except TrainerError:
        return False
    return True


def read_train_state(folder: Path) -> TrainState:
    """Verify a checkpoint and return its state.

    Raises:
        TrainerError: If it cannot be used; the message names the latest complete checkpoint in the same folder.
    """
    if not folder.is_dir():
        raise TrainerError(f"--resume {folder}: there is no such folder.{_alternative(folder)}")
    if not (folder / MANIFEST).is_file():
        raise TrainerError(
            f"--resume {folder}: it is not a complete checkpoint of this trainer (it has no {MANIFEST}).{_alternative(folder)}"
        )
    try:
        verify_checkpoint(folder)
        return _parse_state(folder)
    except TrainerError as error:
        raise CheckpointError(f"{error}{_alternative(folder)}", folder.name, reason_code=error.reason_code) from None


def _parse_state(folder: Path) -> TrainState:
    """Return the values of a verified checkpoint.

    Raises:
        TrainerError: Naming the first that is wrong.
    """
    value = _read_json(folder, TRAIN_STATE)
    if fault := find_state_fault(value, read_manifest(folder)):
        raise _damaged(folder, f"{TRAIN_STATE} {fault}")
    try:
        return TrainState(**value)
    except TypeError as error:
        raise TrainerError(f"The checkpoint {folder} was written by another version: {error}.") from None


def _alternative(folder: Path) -> str:
    """Return a sentence that names the latest complete checkpoint in the folder of one that cannot be used."""
    candidates = folder.parent.glob(f"*{STATE_ENDING}/{MANIFEST}") if folder.parent.is_dir() else ()
    complete = [found.parent for found in candidates if found.parent != folder and is_complete(found.parent)]
    if not complete:
        return " Give the folder of a saved state, or leave --resume out to start from the beginning."
    return f" Resume from {max(complete, key=lambda other: read_manifest(other).step)}, which is complete."


def load_checkpoint(
    folder: Path, network: TrainedNetwork, optimizer: torch.optim.Optimizer, scheduler: LRScheduler
) -> dict[str, dict[str, Tensor]]:
    """Restore a verified checkpoint and return its extra tensors.

    Raises:
        TrainerError: If it does not fit the network or the optimizer.
    """
    files = read_manifest(folder).files
    try:
        network.load(_tensors(folder / NETWORK), str(folder))
        tensors = _tensors(folder / OPTIMIZER) if OPTIMIZER in files else {}
        restore_optimizer(optimizer, put_tensors(_read_json(folder, OPTIMIZER_JSON), tensors))
        resume_scheduler(scheduler, _read_json(folder, SCHEDULER))
    except UNFIT as error:
        raise CheckpointError(
            f"The checkpoint {folder} is damaged, or was made with another optimizer: {OPTIMIZER_JSON} and {OPTIMIZER} do not fit this one "
            f"({error}).{_alternative(folder)}",
            folder.name,
        ) from None
    parts = [name for name in files if name.endswith(LORA_ENDING) and name not in (NETWORK, OPTIMIZER)]
    return {Path(name).stem: _tensors(folder / name) for name in parts}


def _tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint's file; it is read and not mapped, which some volumes refuse."""
    return open_weights(path, "The checkpoint's file")


def restore_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load an optimizer's state without the cast to the weights' dtype that torch and bitsandbytes apply.

    Nothing is loaded if the state does not fit.

    Raises:
        ValueError, KeyError, TypeError, AttributeError, IndexError: If the state is damaged or belongs to other parameters.
    """
    state = fitting_state(optimizer, state)
    optimizer.load_state_dict(state)
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    indices = [index for group in state["param_groups"] for index in group["params"]]
    for index, parameter in zip(indices, parameters, strict=True):
        for name, value in tensors_in(state["state"].get(index, {})):
            loaded = optimizer.state[parameter][name]
            if loaded.dtype != value.dtype:
                optimizer.state[parameter][name] = value.to(loaded.device)


def tensors_in(state: dict[str, Any]) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of one parameter's state by name, including those in nested dictionaries (bitsandbytes)."""
    for name, value in state.items():
        if isinstance(value, dict):
            yield from tensors_in(value)
        elif isinstance(value, Tensor):
            yield name, value


def _read_json(folder: Path, name: str) -> Any:
    try:
        return json.loads(read_regular(folder / name, MAX_JSON_BYTES).decode("utf-8-sig"))
    except OSError as error:
        raise TrainerError(f"The checkpoint {folder} cannot be used: {name} cannot be read ({error.strerror}).") from None
    except (ValueError, RecursionError):
        raise _damaged(folder, f"{name} cannot be read") from None


def _take_tensors(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """Return a nested state for JSON: tensors move to `tensors` by path, and keys get their type as a prefix."""
    if isinstance(value, Tensor):
        tensors[path] = value.detach().to("cpu", copy=True).contiguous()
        return {TENSOR: path}
    if isinstance(value, dict):
        return {f"{type(key).__name__}:{key}": _take_tensors(item, f"{path}/{key}", tensors) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_take_tensors(item, f"{path}/{index}", tensors) for index, item in enumerate(value)]
    return value


def put_tensors(value: Any, tensors: dict[str, Tensor]) -> Any:
    """Return the nested state of an optimizer from its JSON form and `tensors` by path."""
    if isinstance(value, dict):
        if TENSOR in value:
            return tensors[value[TENSOR]]
        kinds = {"int": int, "str": str}
        return {kinds[key.split(":", 1)[0]](key.split(":", 1)[1]): put_tensors(item, tensors) for key, item in value.items()}
    if isinstance(value, list):
        return [put_tensors(item, tensors) for item in value]
    return value


def _plain(state: dict[str, Any]) -> dict[str, Any]:
    """Return the values of a scheduler's state that JSON supports, without functions; a tensor of one element becomes a number."""
    numbers = {key: [_number(item) for item in value] if isinstance(value, list) else _number(value) for key, value in state.items()}
    return {key: value for key, value in numbers.items() if isinstance(value, (int, float, str, bool, list)) or value is None}


def _number(value: Any) -> Any:
    return value.item() if isinstance(value, Tensor) and value.numel() == 1 else value

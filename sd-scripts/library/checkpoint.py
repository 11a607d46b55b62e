"""Checkpoints that are complete or absent: everything a resumed run needs to go on as if it had never stopped.

A checkpoint is a folder with kohya's name (`{name}-{epoch:06d}-state`, `{name}-step{step:08d}-state`, `{name}-state`) that holds the network
and the optimizer as safetensors, the rest as JSON, and a manifest with the hash of every file. Nothing is ever unpickled.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from library.errors import TrainerError
from library.files import complete_folder, save_tensors, sha256, write_json
from networks.lora_flux import LoRANetwork

NETWORK, OPTIMIZER, OPTIMIZER_JSON = "model.safetensors", "optimizer.safetensors", "optimizer.json"
SCHEDULER, TRAIN_STATE, MANIFEST = "scheduler.json", "train_state.json", "manifest.json"
TENSOR = "__tensor__"


@dataclass(frozen=True, kw_only=True)
class TrainState:
    """Where a run stands: steps done over all attempts, epochs done, batches done in the current epoch, and what it was begun with."""

    step: int
    epoch: int
    batch_in_epoch: int
    total_steps: int
    seed: int
    fixed: dict[str, Any]


def save_checkpoint(
    folder: Path, network: LoRANetwork, optimizer: torch.optim.Optimizer, scheduler: LRScheduler, state: TrainState
) -> None:
    """Write a checkpoint; when it fails, nothing of it is left and an older one of the same name stands."""
    with complete_folder(folder) as aside:
        save_tensors(network.weights(), aside / NETWORK)
        tensors: dict[str, Tensor] = {}
        skeleton = _take_tensors(optimizer.state_dict(), "", tensors)
        save_tensors(tensors, aside / OPTIMIZER)
        write_json(skeleton, aside / OPTIMIZER_JSON)
        write_json(_plain(scheduler.state_dict()), aside / SCHEDULER)
        write_json(asdict(state), aside / TRAIN_STATE)
        files = {path.name: {"sha256": sha256(path), "bytes": path.stat().st_size} for path in sorted(aside.iterdir())}
        numbers = {"step": state.step, "epoch": state.epoch, "total_steps": state.total_steps}
        write_json({"files": files, **numbers, "run_id": os.environ.get("FLUXGYM_RUN_ID", "")}, aside / MANIFEST)


def verify_checkpoint(folder: Path) -> None:
    """Raise TrainerError naming the first file of a checkpoint that is missing or damaged."""
    manifest = _read_json(folder, MANIFEST)
    for name, expected in manifest["files"].items():
        path = folder / Path(name).name
        if not path.is_file():
            raise TrainerError(f"the checkpoint {folder} lacks {name}; resume from an earlier one.")
        if sha256(path) != expected["sha256"]:
            raise TrainerError(f"the checkpoint {folder} is damaged: {name} has changed since it was written; resume from an earlier one.")


def read_train_state(folder: Path) -> TrainState:
    """Verify a checkpoint and return where it stands; raises TrainerError when it cannot be used."""
    if not folder.is_dir():
        raise TrainerError(f"--resume {folder}: there is no such folder.")
    if not (folder / MANIFEST).is_file():
        raise TrainerError(f"--resume {folder}: it is no complete checkpoint of this trainer (it has no {MANIFEST}).")
    verify_checkpoint(folder)
    try:
        return TrainState(**_read_json(folder, TRAIN_STATE))
    except TypeError as error:
        raise TrainerError(f"the checkpoint {folder} was written by another version: {error}.") from None


def load_checkpoint(folder: Path, network: LoRANetwork, optimizer: torch.optim.Optimizer, scheduler: LRScheduler) -> None:
    """Restore a verified checkpoint; raises TrainerError when it does not fit the network or the optimizer."""
    network.load(load_file(folder / NETWORK), str(folder))
    try:
        optimizer.load_state_dict(_put_tensors(_read_json(folder, OPTIMIZER_JSON), load_file(folder / OPTIMIZER)))
        scheduler.load_state_dict(_read_json(folder, SCHEDULER))
    except (KeyError, ValueError) as error:
        raise TrainerError(
            f"the checkpoint {folder} does not fit this optimizer ({error}); resume with the settings that it was made with."
        ) from None


def _read_json(folder: Path, name: str) -> Any:
    try:
        return json.loads((folder / name).read_text())
    except (OSError, ValueError):
        raise TrainerError(f"the checkpoint {folder} is damaged: {name} cannot be read; resume from an earlier one.") from None


def _take_tensors(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """Copy a nested state, its tensors moved into `tensors` under their path; integer keys are marked, for JSON knows only text."""
    if isinstance(value, Tensor):
        tensors[path] = value.detach().to("cpu", copy=True).contiguous()
        return {TENSOR: path}
    if isinstance(value, dict):
        return {f"{type(key).__name__}:{key}": _take_tensors(item, f"{path}/{key}", tensors) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_take_tensors(item, f"{path}/{index}", tensors) for index, item in enumerate(value)]
    return value


def _put_tensors(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, dict):
        if TENSOR in value:
            return tensors[value[TENSOR]]
        kinds = {"int": int, "str": str}
        return {kinds[key.split(":", 1)[0]](key.split(":", 1)[1]): _put_tensors(item, tensors) for key, item in value.items()}
    if isinstance(value, list):
        return [_put_tensors(item, tensors) for item in value]
    return value


def _plain(state: dict[str, Any]) -> dict[str, Any]:
    """Keep what JSON can hold: schedules keep their functions among their state, and make them anew."""
    return {key: value for key, value in state.items() if isinstance(value, (int, float, str, bool, list)) or value is None}

"""Saves LoRA files and checkpoints under kohya's file names, and removes old ones."""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from fluxgym.contract.codes import ReasonCode
from fluxgym.contract.files import SavedName, lora_name, parse_lora_name, parse_state_name, state_name
from library.config import SaveConfig, SaveKeys, SavePrecision
from library.errors import TrainerError
from library.files import disk_errors, remove
from library.training.checkpoint import CheckpointParts, TrainState, is_complete, read_manifest, save_checkpoint
from library.training.metadata import metadata_at
from library.weights.safetensors_file import open_weights, save_tensors
from networks.base import TrainedNetwork
from networks.lora_keys import to_diffusers

DTYPES = {None: None, SavePrecision.BF16: torch.bfloat16, SavePrecision.FP16: torch.float16, SavePrecision.FLOAT: torch.float32}


class Saver:
    """Writes the LoRA files and checkpoints of a training; `epoch_interval` is the number of epochs between saves, or None."""

    def __init__(self, config: SaveConfig, network: TrainedNetwork, metadata: Mapping[str, str], *, epoch_interval: int | None) -> None:
        self.config, self.network, self.metadata, self.epoch_interval = config, network, metadata, epoch_interval
        self.folder, self.name = config.output_dir, config.output_name
        with disk_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)

    def save_lora(self, suffix: str, *, epoch: int, step: int) -> Path:
        """Write `{name}{suffix}.safetensors` atomically, with kohya's metadata.

        Raises:
            TrainerError: For NaN or infinity.
        """
        weights = self._weights()
        path = self.folder / lora_name(self.name, suffix)
        _check_numbers(weights, path)  # before an older file of that name is replaced
        save_tensors(weights, path, metadata_at(self.metadata, weights, epoch=epoch, step=step, minimal=self.config.no_metadata))
        return path

    def _weights(self) -> dict[str, Tensor]:
        """Return the network's tensors under the configured names, in the configured precision."""
        weights = self.network.weights(DTYPES[self.config.save_precision])
        return to_diffusers(weights) if self.config.save_keys == SaveKeys.DIFFUSERS else weights

    def has_lora(self, suffix: str) -> bool:
        """Return True if `{name}{suffix}.safetensors` exists."""
        return (self.folder / lora_name(self.name, suffix)).is_file()

    def check_lora(self, path: Path) -> None:
        """Read a saved LoRA and check its tensors.

        Raises:
            TrainerError: If the network's tensors are missing or contain NaN or infinity.
        """
        expected = {name: tensor.shape for name, tensor in self._weights().items()}
        try:
            tensors = open_weights(path, "the saved LoRA")
        except (TrainerError, OSError) as error:
            raise TrainerError(f"the saved LoRA {path} cannot be read back: {error}", reason_code=ReasonCode.BAD_OUTPUT) from None
        if {name: tensor.shape for name, tensor in tensors.items()} != expected:
            raise TrainerError(f"the saved LoRA {path} does not contain the tensors that were trained.", reason_code=ReasonCode.BAD_OUTPUT)
        _check_numbers(tensors, path)

    def save_state(self, suffix: str, parts: CheckpointParts, state: TrainState) -> Path:
        """Write the checkpoint `{name}{suffix}-state` atomically and return its folder."""
        path = self.folder / state_name(self.name, suffix)
        save_checkpoint(path, parts, state)
        return path

    def drop_old_epochs(self, epoch: int) -> None:
        """Remove files older than --save_last_n_epochs and --save_last_n_epochs_state, counted back from `epoch`."""
        interval = self.epoch_interval or 1
        keep = self.config.save_last_n_epochs
        keep_state = self.config.save_last_n_epochs_state or keep
        self._drop_loras(lambda saved: saved.epoch is not None and keep and saved.epoch <= epoch - keep * interval)
        self._drop_states(lambda saved: saved.epoch is not None and keep_state and saved.epoch <= epoch - keep_state * interval)

    def drop_old_steps(self, step: int) -> None:
        """Remove files older than --save_last_n_steps and --save_last_n_steps_state, in steps before `step`, as in kohya."""
        keep = self.config.save_last_n_steps
        keep_state = self.config.save_last_n_steps_state or keep
        self._drop_loras(lambda saved: saved.step is not None and keep and saved.step < step - keep)
        self._drop_states(lambda saved: saved.step is not None and keep_state and saved.step < step - keep_state)

    def _drop_loras(self, is_old: Callable[[SavedName], object]) -> None:
        for path in list(self.folder.iterdir()):
            if (saved := parse_lora_name(path.name, self.name)) is not None and is_old(saved):
                remove(path)

    def _drop_states(self, is_old: Callable[[SavedName], object]) -> None:
        states = [(path, saved) for path in self.folder.iterdir() if (saved := parse_state_name(path.name, self.name)) is not None]
        old = [path for path, saved in states if is_old(saved)]
        for path in self._without_last_complete(old, [path for path, _ in states if path not in old]) if old else ():
            remove(path)

    def _without_last_complete(self, old: list[Path], others: list[Path]) -> list[Path]:
        """Return the old checkpoints to remove: all, except the newest complete one if no other complete one exists."""
        if any(is_complete(path) for path in sorted(others, key=_written_at, reverse=True)):
            return old
        complete = [path for path in old if is_complete(path)]
        newest = max(complete, key=lambda path: read_manifest(path).step, default=None)  # not by time: the clock may have been set back
        return [path for path in old if path != newest]


def _check_numbers(weights: Mapping[str, Tensor], path: Path) -> None:
    """Raise TrainerError if a LoRA contains NaN or infinity."""
    if invalid := next((name for name, tensor in weights.items() if not tensor.isfinite().all()), None):
        raise TrainerError(
            f"the LoRA {path.name} would contain NaN or infinity in {invalid}; likely causes are a learning rate that is too high and "
            "--optimizer_args with an extreme value.",
            reason_code=ReasonCode.NAN,
        )


def _written_at(path: Path) -> float:
    return path.stat().st_mtime

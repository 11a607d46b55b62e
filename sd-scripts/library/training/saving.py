"""What a training leaves on the disk, when and under which of kohya's names: LoRA files, checkpoints, and which old ones go.

Owns names and retention. How a checkpoint is made whole belongs to checkpoint.py, what a LoRA file says of itself to metadata.py.
"""

import re
from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from fluxgym.contract.codes import ReasonCode
from fluxgym.contract.files import LORA_ENDING, STATE_ENDING, lora_name, state_name
from library.errors import TrainerError
from library.files import disk_errors, remove, save_tensors
from library.training.checkpoint import TrainState, is_whole, save_checkpoint
from library.training.metadata import metadata_at
from networks.base import TrainedNetwork
from networks.factory import in_form


class Saver:
    """Writes a training's LoRA files and checkpoints."""

    def __init__(self, args: Namespace, network: TrainedNetwork, dtype: torch.dtype | None, metadata: Mapping[str, str]) -> None:
        self.args, self.network, self.dtype, self.metadata = args, network, dtype, metadata
        self.folder, self.name = Path(args.output_dir), args.output_name
        with disk_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)

    def save_lora(self, suffix: str, *, epoch: int, step: int) -> Path:
        """Write `{name}{suffix}.safetensors` whole or not at all, with kohya's metadata."""
        weights = in_form(self.args, self.network.weights(self.dtype))
        path = self.folder / lora_name(self.name, suffix)
        _check_numbers(weights, path)  # before an older file of that name gives way
        save_tensors(weights, path, metadata_at(self.metadata, self.args, weights, epoch=epoch, step=step))
        return path

    def has_lora(self, suffix: str) -> bool:
        """Return True if `{name}{suffix}.safetensors` is there."""
        return (self.folder / lora_name(self.name, suffix)).is_file()

    def check_lora(self, path: Path) -> None:
        """Read a saved LoRA again; raises TrainerError when it does not hold the network's tensors, or a number that is none."""
        expected = {name: tensor.shape for name, tensor in in_form(self.args, self.network.weights(self.dtype)).items()}
        try:
            with safe_open(path, framework="pt") as file:
                found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no dict
        except (SafetensorError, OSError) as error:
            raise TrainerError(f"the saved LoRA {path} cannot be read again: {error}.", reason_code=ReasonCode.BAD_OUTPUT) from None
        if {name: tensor.shape for name, tensor in found.items()} != expected:
            raise TrainerError(f"the saved LoRA {path} does not hold the tensors that were trained.", reason_code=ReasonCode.BAD_OUTPUT)
        _check_numbers(found, path)

    def save_state(
        self,
        suffix: str,
        optimizer: torch.optim.Optimizer,
        scheduler: torch.optim.lr_scheduler.LRScheduler,
        state: TrainState,
        extra: Mapping[str, Mapping[str, Tensor]] | None = None,
    ) -> Path:
        """Write the checkpoint `{name}{suffix}-state`."""
        path = self.folder / state_name(self.name, suffix)
        save_checkpoint(path, self.network, optimizer, scheduler, state, extra)
        return path

    def drop_old_epochs(self, epoch: int, *, interval: int) -> None:
        """Remove what --save_last_n_epochs and --save_last_n_epochs_state no longer keep after this save; one is made every `interval` epochs."""
        keep = self.args.save_last_n_epochs
        keep_state = self.args.save_last_n_epochs_state or keep
        self._drop(r"-(\d{6})", LORA_ENDING, lambda number: keep and number <= epoch - keep * interval)
        self._drop(r"-(\d{6})", STATE_ENDING, lambda number: keep_state and number <= epoch - keep_state * interval)

    def drop_old_steps(self, step: int) -> None:
        """Remove what --save_last_n_steps and --save_last_n_steps_state no longer keep; both count steps, as in kohya."""
        keep = self.args.save_last_n_steps
        keep_state = self.args.save_last_n_steps_state or keep
        self._drop(r"-step(\d{8})", LORA_ENDING, lambda number: keep and number < step - keep)
        self._drop(r"-step(\d{8})", STATE_ENDING, lambda number: keep_state and number < step - keep_state)

    def _drop(self, number: str, ending: str, is_old: Callable[[int], object]) -> None:
        pattern = re.compile(re.escape(self.name) + number + re.escape(ending))
        matches = [(path, pattern.fullmatch(path.name)) for path in self.folder.iterdir()]
        old = [path for path, match in matches if match and is_old(int(match[1]))]
        for path in self._spared(old) if ending == STATE_ENDING and old else old:
            remove(path)

    def _spared(self, old: list[Path]) -> list[Path]:
        """Return the old checkpoints without the newest whole one, unless another whole one stays: there is always one to resume from."""
        own = re.compile(re.escape(self.name) + r"(-\d{6}|-step\d{8})?" + STATE_ENDING)
        others = [path for path in self.folder.iterdir() if own.fullmatch(path.name) and path not in old]
        if any(is_whole(path) for path in sorted(others, key=_written_at, reverse=True)):
            return old
        kept = next((path for path in sorted(old, key=_written_at, reverse=True) if is_whole(path)), None)
        return [path for path in old if path != kept]


def _check_numbers(weights: Mapping[str, Tensor], path: Path) -> None:
    """Raise TrainerError when a LoRA is no good."""
    if odd := next((name for name, tensor in weights.items() if not tensor.isfinite().all()), None):
        raise TrainerError(
            f"the LoRA {path.name} would hold numbers that are none in {odd}; the likely cause is a learning rate that is too high.",
            reason_code=ReasonCode.NAN,
        )


def _written_at(path: Path) -> float:
    return path.stat().st_mtime

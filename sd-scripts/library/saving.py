"""What a training leaves on the disk, when and under which of kohya's names: LoRA files, checkpoints, and which old ones go.

Owns names and retention. How a checkpoint is made whole belongs to checkpoint.py, what a LoRA file says of itself to metadata.py.
"""

import re
from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from library.checkpoint import TrainState, save_checkpoint
from library.files import disk_errors, remove, save_tensors
from library.metadata import metadata_at
from networks.factory import in_form
from networks.network import TrainedNetwork

LORA = ".safetensors"
STATE = "-state"


class Saver:
    """Writes a training's LoRA files and checkpoints."""

    def __init__(self, args: Namespace, network: TrainedNetwork, dtype: torch.dtype | None, metadata: Mapping[str, str]) -> None:
        self.args, self.network, self.dtype, self.metadata = args, network, dtype, metadata
        self.folder, self.name = Path(args.output_dir), args.output_name or "last"
        with disk_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)

    def save_lora(self, suffix: str, *, epoch: int, step: int) -> Path:
        """Write `{name}{suffix}.safetensors` whole or not at all, with kohya's metadata."""
        weights = in_form(self.args, self.network.weights(self.dtype))
        path = self.folder / f"{self.name}{suffix}{LORA}"
        save_tensors(weights, path, metadata_at(self.metadata, self.args, weights, epoch=epoch, step=step))
        return path

    def save_state(
        self, suffix: str, optimizer: torch.optim.Optimizer, scheduler: torch.optim.lr_scheduler.LRScheduler, state: TrainState
    ) -> Path:
        """Write the checkpoint `{name}{suffix}-state`."""
        path = self.folder / f"{self.name}{suffix}{STATE}"
        save_checkpoint(path, self.network, optimizer, scheduler, state)
        return path

    def drop_old_epochs(self, epoch: int) -> None:
        """Remove what --save_last_n_epochs and --save_last_n_epochs_state no longer keep after this epoch's save."""
        reach = self.args.save_every_n_epochs or 1
        keep = self.args.save_last_n_epochs
        keep_state = self.args.save_last_n_epochs_state or keep
        self._drop(r"-(\d{6})", LORA, lambda number: keep and number <= epoch - keep * reach)
        self._drop(r"-(\d{6})", STATE, lambda number: keep_state and number <= epoch - keep_state * reach)

    def drop_old_steps(self, step: int) -> None:
        """Remove what --save_last_n_steps and --save_last_n_steps_state no longer keep; both count steps, as in kohya."""
        keep = self.args.save_last_n_steps
        keep_state = self.args.save_last_n_steps_state or keep
        self._drop(r"-step(\d{8})", LORA, lambda number: keep and number < step - keep)
        self._drop(r"-step(\d{8})", STATE, lambda number: keep_state and number < step - keep_state)

    def _drop(self, number: str, ending: str, is_old: Callable[[int], object]) -> None:
        pattern = re.compile(re.escape(self.name) + number + re.escape(ending))
        for path in self.folder.iterdir():
            match = pattern.fullmatch(path.name)
            if match and is_old(int(match[1])):
                remove(path)


def epoch_suffix(epoch: int) -> str:
    """Kohya's name part for an epoch's save."""
    return f"-{epoch:06d}"


def step_suffix(step: int) -> str:
    """Kohya's name part for a save between epochs."""
    return f"-step{step:08d}"

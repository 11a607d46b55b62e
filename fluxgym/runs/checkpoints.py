"""A run's complete checkpoints. What a checkpoint consists of is known to the trainer's backend, which reads it."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fluxgym.runs.paths import RunPaths


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A complete checkpoint. step counts over all attempts, epoch is the number of finished epochs, total_steps is 0 if unknown."""

    folder: Path
    step: int
    epoch: int
    total_steps: int
    written_at: float

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name


class CheckpointReader(Protocol):
    """Reads one kind of checkpoint; every trainer backend does."""

    def read_checkpoint(self, folder: Path, *, verify: bool) -> Checkpoint | None:
        """Return a checkpoint of this kind if it is complete; with verify, checksums are computed too."""


def list_complete(run: RunPaths, reader: CheckpointReader, *, verify: bool = False) -> list[Checkpoint]:
    """Return the complete checkpoints of the reader's kind, the one with the most steps first."""
    read = (reader.read_checkpoint(folder, verify=verify) for folder in run.checkpoint_folders())
    found = [checkpoint for checkpoint in read if checkpoint is not None]
    return sorted(found, key=lambda checkpoint: (checkpoint.step, checkpoint.written_at), reverse=True)


def newest_verified(run: RunPaths, reader: CheckpointReader) -> Checkpoint | None:
    """Return the complete checkpoint with the most steps whose checksums are right, None if there is none."""
    return next((found for found in list_complete(run, reader) if reader.read_checkpoint(found.folder, verify=True)), None)


def num_steps_lost(step: int, complete: Iterable[Checkpoint]) -> int:
    """Return how many of the steps up to `step` no complete checkpoint has."""
    return step - max((checkpoint.step for checkpoint in complete if checkpoint.step <= step), default=0)

"""A run's complete checkpoints. What a checkpoint consists of is known to the trainer's backend, which reads it."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fluxgym.contract.progress import is_number
from fluxgym.errors import StorageError
from fluxgym.runs.atomic_files import read_json, write_json
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
    """Return the complete checkpoints of the reader's kind, without the refused ones; the checkpoint with the most steps is first."""
    read = (reader.read_checkpoint(folder, verify=verify) for folder in run.checkpoint_folders())
    refused = read_refused(run)
    usable = [checkpoint for checkpoint in read if checkpoint is not None and refused.get(checkpoint.name) != checkpoint.written_at]
    return sorted(usable, key=lambda checkpoint: (checkpoint.step, checkpoint.written_at), reverse=True)


def newest_verified(run: RunPaths, reader: CheckpointReader) -> Checkpoint | None:
    """Return the complete checkpoint with the most steps whose checksums are right, None if there is none.

    A damaged checkpoint is recorded as refused, so that it is not offered again.
    """
    for checkpoint in list_complete(run, reader):
        if reader.read_checkpoint(checkpoint.folder, verify=True) is not None:
            return checkpoint
        refuse_checkpoint(run, checkpoint)
    return None


def read_refused(run: RunPaths) -> dict[str, float]:
    """Return the checkpoints that cannot be used: folder name -> time at which the unusable checkpoint was written.

    A checkpoint of the same name with another time may be good.
    """
    value = read_json(run.refused_checkpoints)
    return {name: float(at) for name, at in value.items() if is_number(at)} if isinstance(value, dict) else {}


def refuse_checkpoint(run: RunPaths, checkpoint: Checkpoint) -> None:
    """Record that a checkpoint cannot be used. On a full disk nothing is recorded, and the next attempt finds the fault again."""
    with suppress(StorageError):
        write_json(run.refused_checkpoints, read_refused(run) | {checkpoint.name: checkpoint.written_at})


def num_steps_lost(step: int, complete: Iterable[Checkpoint]) -> int:
    """Return how many of the steps up to `step` no complete checkpoint has."""
    return step - max((checkpoint.step for checkpoint in complete if checkpoint.step <= step), default=0)

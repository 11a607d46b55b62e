"""The LoRA files that a run has saved: at which epoch and step, with which validation loss, and which of them is the best."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from fluxgym.contract.codes import Status
from fluxgym.contract.files import parse_lora_name, state_name
from fluxgym.runs.checkpoints import list_complete
from fluxgym.runs.exit_record import read_exit
from fluxgym.runs.path_checks import is_served
from fluxgym.runs.paths import RunPaths
from fluxgym.sessions.run_metrics import TrainingRecord
from fluxgym.trainers.base import backend_of


@dataclass(frozen=True, kw_only=True)
class SavedLora:
    """A LoRA file; unknown numbers are None. is_final is True for the trained model.

    checkpoint is the folder of the complete checkpoint that was saved with it, if the run can be resumed from there.
    """

    path: Path
    num_bytes: int
    is_final: bool
    epoch: int | None
    step: int | None
    val_loss: float | None
    checkpoint: str | None


def saved_loras(run: RunPaths, record: TrainingRecord, *, status: Status) -> list[SavedLora]:
    """Return the LoRA files, the trained model first, then from the latest to the earliest."""
    checkpoints = _checkpoints(run) if status in (Status.STOPPED, Status.FAILED) else frozenset()
    found = [lora for path in run.lora_files() if (lora := _saved_lora(run, path, record, checkpoints)) is not None]
    if status is Status.COMPLETED:
        found = [_final(lora, run, record) if lora.is_final else lora for lora in found]
    return sorted(found, key=lambda lora: (lora.is_final, lora.step or 0, lora.epoch or 0, lora.path.name), reverse=True)


def best_lora(loras: Iterable[SavedLora]) -> SavedLora | None:
    """Return the file with the lowest validation loss, of equal ones the latest; without any the trained model, else the latest file."""
    loras = list(loras)
    validated = [lora for lora in loras if lora.val_loss is not None and math.isfinite(lora.val_loss)]
    return min(validated, key=lambda lora: lora.val_loss or 0.0) if validated else next(iter(loras), None)


def _checkpoints(run: RunPaths) -> frozenset[str]:
    """Return the names of the complete checkpoints but for the newest, which the button Resume takes."""
    return frozenset(checkpoint.name for checkpoint in list_complete(run, backend_of(run))[1:])


def _saved_lora(run: RunPaths, path: Path, record: TrainingRecord, checkpoints: frozenset[str]) -> SavedLora | None:
    try:
        num_bytes = path.stat().st_size
    except OSError:
        return None
    if not is_served(path):
        return None
    saved = parse_lora_name(path.name) if path != run.lora else None
    epoch = None if saved is None else saved.epoch
    step = record.epoch_ends.get(epoch or 0) if saved is None or saved.step is None else saved.step
    checkpoint = state_name(path.stem)
    return SavedLora(
        path=path, num_bytes=num_bytes, is_final=path == run.lora, epoch=epoch, step=step,
        val_loss=record.validation.get(step) if step is not None else None,
        checkpoint=checkpoint if checkpoint in checkpoints else None,
    )  # fmt: skip


def _final(lora: SavedLora, run: RunPaths, record: TrainingRecord) -> SavedLora:
    """Return the trained model's file with the last step and epoch, which its name does not hold."""
    end = read_exit(run)
    step = (end.last_step if end is not None else None) or max(record.epoch_ends.values(), default=None)
    val_loss = record.validation.get(step) if step is not None else None
    return replace(lora, step=step, epoch=max(record.epoch_ends, default=None), val_loss=val_loss)

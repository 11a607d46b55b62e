"""Count what the folder of a run holds, for the confirmation before it is deleted."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from fluxgym.contract.dataset_rules import is_image_name
from fluxgym.contract.wording import counted
from fluxgym.runs.paths import RunPaths
from fluxgym.sessions.preconditions import ensure_is_run


@dataclass(frozen=True, kw_only=True)
class FolderContents:
    """The size of a run's folder, its model files, and the number of its images, samples and checkpoints."""

    num_files: int
    num_bytes: int
    lora_files: tuple[str, ...]
    num_images: int = 0
    num_samples: int = 0
    num_checkpoints: int = 0

    def message(self) -> str:
        """Return a description for the confirmation of a delete."""
        models = f", with the model {', '.join(self.lora_files)}" if self.lora_files else ", without a trained model"
        return f"{counted(self.num_files, 'file')}, {self.num_bytes / 1e6:.1f} MB{models}"


def contents(run: RunPaths) -> FolderContents:
    """Count what a run's folder holds.

    Raises:
        SessionNotFound: If it is not a run's.
    """
    ensure_is_run(run)
    sizes = [status.st_size for path in run.folder.rglob("*") if (status := _status(path)) and not stat.S_ISDIR(status.st_mode)]
    return FolderContents(
        num_files=len(sizes),
        num_bytes=sum(sizes),
        lora_files=tuple(path.name for path in run.lora_files()),
        num_images=_num_images(run.dataset),
        num_samples=_num_images(run.samples),
        num_checkpoints=len(run.checkpoint_folders()),
    )


def _status(path: Path) -> os.stat_result | None:
    """Return the status of a path itself, None if it was removed meanwhile or cannot be read."""
    try:
        return path.lstat()
    except OSError:
        return None


def _num_images(folder: Path) -> int:
    return sum(is_image_name(path.name) for path in folder.glob("*"))

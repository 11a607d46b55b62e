"""A run's checkpoints as the page sees them: which are complete, and where they stand. Owns reading the trainer's manifest."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from fluxgym.errors import NothingToResume
from fluxgym.run.atomic import read_json
from fluxgym.run.paths import RunPaths

MANIFEST = "manifest.json"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A complete checkpoint; step counts over all attempts, epoch is the number of epochs done."""

    folder: Path
    step: int
    epoch: int
    total_steps: int
    written_at: float

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name


def read_checkpoint(folder: Path, *, verify: bool = False) -> Checkpoint | None:
    """Return a checkpoint if all its files have the sizes (with `verify` also the hashes) of its manifest, else None."""
    manifest = read_json(folder / MANIFEST)
    try:
        files = manifest["files"]
        for name, expected in files.items():
            path = folder / Path(name).name
            if path.stat().st_size != expected["bytes"] or (verify and _sha256(path) != expected["sha256"]):
                return None
        return Checkpoint(
            folder=folder,
            step=int(manifest["step"]),
            epoch=int(manifest["epoch"]),
            total_steps=int(manifest["total_steps"]),
            written_at=(folder / MANIFEST).stat().st_mtime,
        )
    except (OSError, KeyError, TypeError, ValueError, AttributeError):
        return None


def list_complete(run: RunPaths, *, verify: bool = False) -> list[Checkpoint]:
    """Return the complete checkpoints, the furthest first."""
    found = [checkpoint for folder in run.checkpoint_folders() if (checkpoint := read_checkpoint(folder, verify=verify))]
    return sorted(found, key=lambda checkpoint: (checkpoint.step, checkpoint.written_at), reverse=True)


def choose_checkpoint(run: RunPaths, name: str | None = None) -> Checkpoint:
    """Return the named checkpoint, or the furthest that is complete; hashes are checked.

    Raises NothingToResume saying which are there.
    """
    if name:
        chosen = read_checkpoint(run.checkpoint(name), verify=True)
        if chosen is None:
            there = ", ".join(checkpoint.name for checkpoint in list_complete(run)) or "none"
            raise NothingToResume(f"There is no complete checkpoint “{name[:80]}” in {run.slug}; complete ones: {there}.")
        return chosen
    for checkpoint in list_complete(run):
        if read_checkpoint(checkpoint.folder, verify=True) is not None:
            return checkpoint
    raise NothingToResume(f"{run.slug} has no complete checkpoint to resume from; start it again from the beginning.")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

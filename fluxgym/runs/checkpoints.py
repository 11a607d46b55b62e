"""A run's checkpoints as the page sees them: which are complete, and where they stand. Owns reading the trainer's manifest.

Our trainer's are exact: a training that goes on from one ends bit for bit like one that was never interrupted. States that kohya's own trainer
saved are not, and only kohya's can read them, so each trainer is offered its own kind.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from fluxgym.errors import NothingToResume
from fluxgym.runs.files import read_json
from fluxgym.runs.paths import RunPaths
from fluxgym.trainers.kohya.states import FIRST, is_complete, read_position

MANIFEST = "manifest.json"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A complete checkpoint; step counts over all attempts, epoch is the number of epochs done, total_steps is 0 when nobody knows."""

    folder: Path
    step: int
    epoch: int
    total_steps: int
    written_at: float
    is_exact: bool = True

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name


def read_checkpoint(folder: Path, *, verify: bool = False, exact: bool = True) -> Checkpoint | None:
    """Return a checkpoint of the wanted kind if all its files are whole, else None; `verify` computes their hashes too.

    An exact one is held against its manifest; of kohya's, each file tells by its own form.
    """
    return _read_exact(folder, verify=verify) if exact else _read_inexact(folder, verify=verify)


def _read_exact(folder: Path, *, verify: bool) -> Checkpoint | None:
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
    except (OSError, KeyError, TypeError, ValueError, AttributeError, OverflowError):
        return None


def _read_inexact(folder: Path, *, verify: bool) -> Checkpoint | None:
    if (folder / MANIFEST).exists() or not is_complete(folder, verify=verify):
        return None
    place = read_position(folder)
    if place is None:
        return None
    try:
        written_at = (folder / FIRST).stat().st_mtime
    except OSError:
        return None
    return Checkpoint(
        folder=folder, step=place.step, epoch=place.epoch, total_steps=place.total_steps, written_at=written_at, is_exact=False
    )


def list_complete(run: RunPaths, *, verify: bool = False, exact: bool = True) -> list[Checkpoint]:
    """Return the complete checkpoints of the wanted kind, the furthest first."""
    read = (read_checkpoint(folder, verify=verify, exact=exact) for folder in run.checkpoint_folders())
    found = [checkpoint for checkpoint in read if checkpoint is not None]
    return sorted(found, key=lambda checkpoint: (checkpoint.step, checkpoint.written_at), reverse=True)


def choose_checkpoint(run: RunPaths, name: str | None = None, *, exact: bool = True) -> Checkpoint:
    """Return the named checkpoint, or the furthest that is complete, of the wanted kind; hashes are checked.

    Raises NothingToResume saying which are there.
    """
    if name:
        chosen = read_checkpoint(run.checkpoint(name), verify=True, exact=exact)
        if chosen is None:
            there = ", ".join(checkpoint.name for checkpoint in list_complete(run, exact=exact)) or "none"
            raise NothingToResume(f"There is no complete checkpoint “{name[:80]}” in {run.slug}; complete ones: {there}.")
        return chosen
    for checkpoint in list_complete(run, exact=exact):
        if read_checkpoint(checkpoint.folder, verify=True, exact=exact) is not None:
            return checkpoint
    if list_complete(run, exact=not exact):
        raise NothingToResume(f"{run.slug} can go on only with the trainer that wrote its checkpoints: {_OTHER[exact]}.")
    raise NothingToResume(f"{run.slug} has no complete checkpoint to resume from; start it again from the beginning.")


_OTHER = {True: "kohya's, by --sd-scripts", False: "FluxGym's own, without --sd-scripts"}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

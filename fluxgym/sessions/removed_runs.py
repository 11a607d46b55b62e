"""Runs that are not on the list any more: forgotten ones, and those that another start has replaced. Each can be put back."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from fluxgym.contract.files import LORA_ENDING, UI_STATE, parse_archived_name, with_output_name
from fluxgym.errors import SessionNotFound
from fluxgym.runs.atomic_files import read_json
from fluxgym.runs.path_checks import is_regular
from fluxgym.runs.paths import OutputsPaths, RunPaths
from fluxgym.runs.state import MAX_BYTES, shown_name
from fluxgym.runs.storage_errors import storage_error
from fluxgym.sessions.forget import undo_forget
from fluxgym.sessions.preconditions import first_free_run, name_lock

ARCHIVED_STATE = "state.json"  # not ui_state.json: the guide's commands count and delete sessions by that name


class Removal(StrEnum):
    """Why a run is not on the list."""

    FORGOTTEN = "forgotten"
    REPLACED = "replaced"


@dataclass(frozen=True, kw_only=True)
class RemovedRun:
    """A run that can be put back. id is the name of its folder in outputs/ or in the archive, name the one that it is shown with.

    removed_at is in seconds since the epoch.
    """

    id: str
    slug: str
    name: str
    removal: Removal
    removed_at: float
    lora_files: tuple[str, ...]

    def message(self) -> str:
        """Return it as one line of a list: "cat-20251129-160000-1f2e: cat, replaced 2025-11-29 16:00, with cat.safetensors"."""
        moment = f" {datetime.fromtimestamp(self.removed_at):%Y-%m-%d %H:%M}" if self.removed_at else ""
        loras = f", with {', '.join(self.lora_files)}" if self.lora_files else ""
        name = "" if self.id == self.name else f"{self.name}, "
        return f"{self.id}: {name}{self.removal}{moment}{loras}"


def list_removed(outputs: OutputsPaths) -> list[RemovedRun]:
    """Return the runs that were forgotten or replaced, the one that was removed last first."""
    removed = [*_forgotten(outputs), *_replaced(outputs)]
    return sorted(removed, key=lambda run: (-run.removed_at, run.id))


def put_back(outputs: OutputsPaths, removed_id: str) -> RunPaths:
    """Put a removed run back on the list and return it; a replaced one gets the first free name of slug, slug-2, ...

    Raises:
        SessionNotFound: If there is no such run; the message lists those that there are.
        SessionError: If a forgotten run's folder has a new state.
    """
    every = list_removed(outputs)
    removed = next((run for run in every if run.id == removed_id), None)
    if removed is None:
        there = ", ".join(run.id for run in every) or "none"
        raise SessionNotFound(f"There is no removed run “{removed_id[:80]}”; there are: {there}.")
    if removed.removal is Removal.FORGOTTEN:
        run = outputs.run(removed.id)
        undo_forget(run)
        return run
    return _restore(outputs, removed)


def _forgotten(outputs: OutputsPaths) -> Iterator[RemovedRun]:
    for folder in _folders(outputs.root):
        run = RunPaths(folder)
        if is_regular(run.forgotten) and not run.ui_state.exists():
            yield _removed(run.forgotten, folder, folder.name, Removal.FORGOTTEN, run.forgotten.stat().st_ctime)


def _replaced(outputs: OutputsPaths) -> Iterator[RemovedRun]:
    for folder in _folders(outputs.archive):
        named = parse_archived_name(folder.name)
        state_file = next((folder / name for name in (ARCHIVED_STATE, UI_STATE) if is_regular(folder / name)), None)
        if named is not None and state_file is not None:
            slug, archived_at = named
            yield _removed(state_file, folder, slug, Removal.REPLACED, _timestamp(archived_at))


def _removed(state_file: Path, folder: Path, slug: str, removal: Removal, removed_at: float) -> RemovedRun:
    loras = tuple(path.name for path in RunPaths(folder).lora_files())
    state = read_json(state_file, max_bytes=MAX_BYTES)
    name = shown_name(slug, state if isinstance(state, dict) else {})
    return RemovedRun(id=folder.name, slug=slug, name=name, removal=removal, removed_at=removed_at, lora_files=loras)


def _timestamp(moment: datetime | None) -> float:
    """Return a time in seconds since the epoch, 0 if there is none or the system cannot convert it."""
    try:
        return 0.0 if moment is None else moment.timestamp()
    except (ValueError, OverflowError):
        return 0.0


def _folders(parent: Path) -> list[Path]:
    try:
        return [path for path in parent.iterdir() if path.is_dir() and not path.is_symlink() and not path.name.startswith(".")]
    except OSError:
        return []


def _restore(outputs: OutputsPaths, removed: RemovedRun) -> RunPaths:
    """Move a replaced run out of the archive; its LoRA files get the name of its new folder."""
    run, folder = first_free_run(outputs, removed.slug), outputs.archive / removed.id
    with name_lock(outputs, run.slug):
        try:
            _rename_files(folder, removed.slug, run.slug)
            folder.rename(run.folder)  # replaces nothing but an empty folder
        except OSError as error:
            raise storage_error(error, folder) from error
    return run


def _rename_files(folder: Path, old: str, new: str) -> None:
    for lora in folder.glob(f"*{LORA_ENDING}"):
        if (name := with_output_name(lora.name, old, new)) != lora.name:
            lora.rename(folder / name)
    if not (folder / UI_STATE).exists():
        (folder / ARCHIVED_STATE).rename(folder / UI_STATE)

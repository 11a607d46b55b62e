"""Forget, delete, sweep and back up runs; remove abandoned drafts and leftovers of interrupted starts."""

import io
import logging
import os
import secrets
import shutil
import stat
import sys
import tarfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from fluxgym.contract.codes import LIVE
from fluxgym.contract.dataset_rules import is_image_name
from fluxgym.contract.files import UI_STATE
from fluxgym.contract.regular_files import UnsafeFile, read_regular
from fluxgym.contract.wording import counted
from fluxgym.engines.registry import engine_for, engine_of
from fluxgym.errors import FluxGymError, SessionError, SessionNotFound, StorageError
from fluxgym.runs.detached import start_detached
from fluxgym.runs.files import raise_if_exhausted, remove_file, storage_error
from fluxgym.runs.paths import OutputsPaths, RunPaths
from fluxgym.runs.state import MAX_BYTES
from fluxgym.sessions.listing import Session, list_sessions
from fluxgym.sessions.preconditions import ensure_ended, ensure_same_run, name_lock

DAY_S = 86_400.0
logger = logging.getLogger(__name__)
DRAFT_DAYS = 90
NEW_DAYS = 2  # longer than any start or import takes


@dataclass(frozen=True, kw_only=True)
class FolderContents:
    """The size of a run's folder, its model files, and the number of its images, samples and checkpoints."""

    num_files: int
    num_bytes: int
    lora_files: tuple[str, ...]
    num_images: int = 0
    num_samples: int = 0
    num_checkpoints: int = 0

    def sentence(self) -> str:
        """Return a description for the confirmation of a delete."""
        models = f", with the model {', '.join(self.lora_files)}" if self.lora_files else ", without a trained model"
        return f"{counted(self.num_files, 'file')}, {self.num_bytes / 1e6:.1f} MB{models}"


def contents(run: RunPaths) -> FolderContents:
    """Count what a run's folder holds.

    Raises:
        SessionNotFound: If it is not a run's.
    """
    _check_is_run(run)
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


def forget(run: RunPaths, *, run_id: str | None = None) -> None:
    """Move a run's ui_state.json to .run/, so that it is no longer listed; its model and all other files stay. `undo_forget` reverts it.

    Raises:
        AlreadyRunning: If the run has a live process.
        SessionError: If the folder holds another run than the one with run_id by now.
    """
    _check_is_run(run)
    _forget(run, engine_of(run).orphans([run]), run_id)


def _forget(run: RunPaths, orphans: Mapping[str, str], run_id: str | None) -> None:
    with name_lock(OutputsPaths(run.folder.parent), run.slug):
        ensure_same_run(run, run_id)
        ensure_ended(run, orphans=orphans)
        try:
            run.private.mkdir(exist_ok=True)
            run.ui_state.rename(run.forgotten)
        except FileNotFoundError:
            return  # it was forgotten before
        except OSError as error:
            raise storage_error(error, run.ui_state) from error


def undo_forget(run: RunPaths) -> None:
    """Put a forgotten run back on the list.

    Raises:
        SessionError: If it is on the list.
        SessionNotFound: If it has no forgotten state.
    """
    _check_is_run(run)
    with name_lock(OutputsPaths(run.folder.parent), run.slug):
        if run.ui_state.exists():
            raise SessionError(f"{run.slug} is on the list.")
        try:
            run.forgotten.rename(run.ui_state)
        except FileNotFoundError:
            raise SessionNotFound(f"{run.slug} has no forgotten settings that could be put back.") from None
        except OSError as error:
            raise storage_error(error, run.ui_state) from error


def delete(run: RunPaths, *, run_id: str | None = None) -> FolderContents:
    """Delete a run and return what its folder held.

    The folder disappears at once; a background process then removes its files.

    Raises:
        AlreadyRunning: If the run has a live process.
        SessionError: If the folder holds another run than the one with run_id by now.
    """
    was = move_to_deleted(run, run_id=run_id)
    remove_in_background(OutputsPaths(run.folder.parent))
    return was


def move_to_deleted(run: RunPaths, *, run_id: str | None = None) -> FolderContents:
    """Move a run off the list, for `remove_in_background`; returns what its folder held.

    Raises:
        SessionNotFound, AlreadyRunning, SessionError: As `delete` does.
    """
    outputs = OutputsPaths(run.folder.parent)
    try:
        was = contents(run)
        with name_lock(outputs, run.slug):
            ensure_same_run(run, run_id)
            ensure_ended(run)
            outputs.deleted.mkdir(parents=True, exist_ok=True)
            run.folder.rename(outputs.deleted / f"{run.slug}-{secrets.token_hex(4)}")  # atomic: no reader sees a partly deleted run
    except OSError as error:
        raise storage_error(error, run.folder) from error
    return was


def sweepable(outputs: Path, days: float) -> list[Session]:
    """Return every ended run that was started more than `days` days ago."""
    limit = time.time() - days * DAY_S
    return [session for session in list_sessions(outputs) if session.status not in LIVE and session.started < limit]


def sweep(outputs: Path, days: float) -> list[str]:
    """Forget every ended run that was started more than `days` days ago; return their slugs."""
    old = {OutputsPaths(outputs).run(session.slug): session.run_id for session in sweepable(outputs, days)}
    orphans, swept = engine_for(OutputsPaths(outputs)).orphans(list(old)), []
    for run, run_id in old.items():
        try:
            _forget(run, orphans, run_id)
        except FluxGymError as error:  # the others are forgotten all the same
            logger.warning("%s was not forgotten: %s", run.slug, error)
            continue
        swept.append(run.slug)
    return swept


def backup(outputs: Path, target: Path) -> int:
    """Write all states into a .tar.gz, to be unpacked beside outputs/ as the guide's tar command does; return their number."""
    if not target.name or (target.exists() and not target.is_file()):
        raise StorageError(f"“{target}” is not a file name for a backup; name a file such as states.tar.gz.")
    tmp_path = target.with_name(f".{target.name}.partial")
    runs = sorted(OutputsPaths(outputs).runs(), key=lambda run: run.slug)
    try:
        with tarfile.open(tmp_path, "w:gz", dereference=True) as archive:
            for run in runs:
                _add(archive, run, f"{outputs.resolve().name}/{run.slug}/ui_state.json")
        tmp_path.replace(target)
    except OSError as error:
        raise storage_error(error, target) from error
    finally:
        tmp_path.unlink(missing_ok=True)
    return len(runs)


def _add(archive: tarfile.TarFile, run: RunPaths, name: str) -> None:
    try:
        data = read_regular(run.ui_state, MAX_BYTES)
    except FileNotFoundError:
        return  # forgotten in the meantime
    except OSError as error:
        raise_if_exhausted(error, run.ui_state)
        way_out = "repair the run" if isinstance(error, UnsafeFile) else "check its permissions"
        raise StorageError(f"{run.ui_state} cannot be read ({error.strerror}), so no backup was made; {way_out}.") from None
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.mtime = len(data), 0o644, _modified_at(run.ui_state)
    archive.addfile(entry, io.BytesIO(data))


def _modified_at(path: Path) -> float:
    status = _status(path)
    return status.st_mtime if status is not None else 0.0


def _check_is_run(run: RunPaths) -> None:
    """Raise SessionNotFound if a folder of outputs/ is missing or was never a run's, such as one where a user keeps other files.

    A run has a state, or a folder .run/, which stays after Forget.
    """
    if not run.folder.is_dir():
        raise SessionNotFound(f"There is no run “{run.slug}”.")
    if not os.path.lexists(run.ui_state) and not run.private.is_dir():
        raise SessionNotFound(f"{run.folder} is not a run: it has no {UI_STATE}, so nothing in it was changed.")


def remove_leftovers(outputs: Path) -> None:
    """Remove abandoned drafts and folders of interrupted starts and imports; what cannot be removed is tried again at the next start."""
    paths = OutputsPaths(outputs)
    for folder, days in ((paths.drafts, DRAFT_DAYS), (paths.new, NEW_DAYS)):
        for path in _older_than(folder, days):
            logger.info("removing %s, untouched for %d days", path, days)
            _remove(path)


def _older_than(folder: Path, days: int) -> list[Path]:
    limit = time.time() - days * DAY_S
    try:
        return [path for path in folder.iterdir() if max(_touched(path)) < limit]
    except OSError:
        return []


def _touched(path: Path) -> Iterator[float]:
    """Yield the modification times of a path and, for a folder, of its direct entries, in seconds since the epoch."""
    yield path.lstat().st_mtime
    if path.is_dir() and not path.is_symlink():
        for inner in path.iterdir():
            yield inner.lstat().st_mtime


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
        return
    if error := remove_file(path):
        logger.warning("%s could not be removed: %s", path, error)


def remove_in_background(outputs: OutputsPaths) -> None:
    """Start `remove_deleted` in a process of its own.

    Raises:
        OSError: If it cannot be started.
    """
    start_detached([sys.executable, "-m", "fluxgym.sessions.cleanup", str(outputs.root.absolute())])


def remove_deleted(outputs: OutputsPaths) -> None:
    """Remove the files of deleted runs as far as permissions allow; of a symbolic link only the link is removed."""
    for folder in outputs.deleted.iterdir():
        if folder.is_symlink():
            folder.unlink(missing_ok=True)
        else:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    remove_deleted(OutputsPaths(Path(sys.argv[1])))

"""Delete a run with all its files."""

import secrets

from fluxgym.runs.paths import OutputsPaths, RunPaths
from fluxgym.runs.storage_errors import storage_error
from fluxgym.sessions.cleanup import remove_in_background
from fluxgym.sessions.folder_contents import FolderContents, contents
from fluxgym.sessions.preconditions import ensure_ended, ensure_same_run, name_lock


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

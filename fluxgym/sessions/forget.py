"""Take runs off the list and put them back; their files stay. A sweep does so with all old runs."""

import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path

from fluxgym.contract.codes import LIVE
from fluxgym.engines.registry import engine_for, engine_of
from fluxgym.errors import FluxGymError, SessionError, SessionNotFound
from fluxgym.runs.paths import OutputsPaths, RunPaths
from fluxgym.runs.state import name_of
from fluxgym.runs.storage_errors import storage_error
from fluxgym.sessions.listing import Session, list_sessions
from fluxgym.sessions.preconditions import ensure_ended, ensure_is_run, ensure_same_run, ensure_state_is_file, name_lock

DAY_S = 86_400.0
logger = logging.getLogger(__name__)


def forget(run: RunPaths, *, run_id: str | None = None) -> None:
    """Move a run's ui_state.json to .run/, so that it is no longer listed; its model and all other files stay. `undo_forget` reverts it.

    Raises:
        AlreadyRunning: If the run has a live process.
        SessionError: If the folder holds another run than the one with run_id by now.
        UnreadableState: If ui_state.json is not a file, so that it could not be put back.
    """
    ensure_is_run(run)
    _forget(run, engine_of(run).orphans([run]), run_id)


def _forget(run: RunPaths, orphans: Mapping[str, str], run_id: str | None) -> None:
    with name_lock(OutputsPaths(run.folder.parent), run.slug):
        ensure_state_is_file(run)
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
    ensure_is_run(run)
    with name_lock(OutputsPaths(run.folder.parent), run.slug):
        if os.path.lexists(run.ui_state):
            raise SessionError(f"{name_of(run)} is on the list.")
        try:
            run.forgotten.rename(run.ui_state)
        except FileNotFoundError:
            raise SessionNotFound(f"{run.slug} has no forgotten settings that could be put back.") from None
        except OSError as error:
            raise storage_error(error, run.ui_state) from error


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

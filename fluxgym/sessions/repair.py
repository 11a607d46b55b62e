"""Repair: a run whose ui_state.json cannot be read gets one again, from its history or from what its other files tell. The damaged one is kept."""

import time

from fluxgym.errors import SessionError, SessionNotFound, UnreadableState
from fluxgym.launch.order import read_launch
from fluxgym.run.atomic import storage_error
from fluxgym.run.exit_record import read_exit
from fluxgym.run.lock import run_lock
from fluxgym.run.paths import RunPaths
from fluxgym.run.process_record import read_record
from fluxgym.run.ui_state import State, create_state, read_state
from fluxgym.sessions.adopt import known_settings
from fluxgym.sessions.history import SETTINGS, versions


def repair(run: RunPaths) -> State:
    """Write a state anew in place of one that cannot be read, and return it; raises SessionError when it can be read after all, or is gone."""
    if not run.ui_state.exists():
        raise SessionNotFound(f"There is no run “{run.slug}”.")
    with run_lock(run.lock):
        try:
            read_state(run)
        except UnreadableState:
            pass
        else:
            raise SessionError(f"The state of {run.slug} can be read, so there is nothing to repair.")
        state = _settings(run) | _facts(run)
        try:
            run.ui_state.rename(run.folder / f"ui_state.damaged-{time.strftime('%Y%m%d-%H%M%S')}")
        except OSError as error:
            raise storage_error(error, run.ui_state) from error
        create_state(run, state)
    return state


def _settings(run: RunPaths) -> State:
    """Return the newest settings that the history holds, else what the run's other files tell."""
    for version in versions(run):
        return {name: version.state[name] for name in SETTINGS if name in version.state}
    return known_settings(run.folder)


def _facts(run: RunPaths) -> State:
    """Return how the run ended and who it is, as the launcher's own files say."""
    end, record, order = read_exit(run), read_record(run), read_launch(run)
    known: State = {"timestamp": record.started_at if record else run.folder.stat().st_mtime, "status": "stopped"}
    if order is not None:
        known["run_id"] = order.run_id
    if end is not None:
        known |= {"status": end.status, "reason": end.reason, "reason_code": end.reason_code, "run_id": end.run_id}
    return {name: value for name, value in known.items() if value not in (None, "")}

"""ui_state.json: a run's settings and status, the user's own format. Owns reading it tolerantly and writing it safely.

Readers never write and never lock. Writers hold the run's lock, read again, and change only their own keys.
"""

import os
from typing import Any

from fluxgym.errors import UnreadableState
from fluxgym.run.atomic import open_regular, parse_json, write_json
from fluxgym.run.lock import run_lock
from fluxgym.run.paths import RunPaths

SCHEMA_VERSION = 1
MAX_BYTES = 1 << 20

State = dict[str, Any]


def read_state(run: RunPaths) -> State:
    """Return a run's state; raises UnreadableState saying what is wrong with the file and what to do."""
    path = run.ui_state
    try:
        with open_regular(path, buffering=0) as file:
            data = file.read(min(os.fstat(file.fileno()).st_size, MAX_BYTES) + 1)
    except OSError as error:
        raise UnreadableState(f"{path.name} cannot be read ({error.strerror}); check the file's permissions.") from None
    if len(data) > MAX_BYTES:
        raise UnreadableState(f"{path.name} is larger than a state can be; restore or delete it.")
    try:
        state = parse_json(data)
    except (ValueError, RecursionError) as error:
        what = "is empty" if not data.strip() else f"is not valid JSON ({error})"
        raise UnreadableState(f"{path.name} {what}; restore it from a backup, or delete it and start again.") from None
    if not isinstance(state, dict):
        raise UnreadableState(f"{path.name} holds no settings; restore it from a backup, or delete it and start again.")
    return state


def create_state(run: RunPaths, state: State) -> None:
    """Write the state of a new start; the caller holds the lock. Raises StorageError when the disk refuses."""
    write_json(run.ui_state, {**state, "schema_version": SCHEMA_VERSION})


def update_state(run: RunPaths, changes: State) -> None:
    """Change some keys of a state under the run's lock; None removes a key, unknown keys survive.

    A state that the user has deleted or damaged is left as it is.
    """
    with run_lock(run.lock):
        try:
            state = read_state(run)
        except UnreadableState:
            return
        write_json(run.ui_state, {key: value for key, value in {**state, **changes}.items() if value is not None})


def timestamp_of(state: State) -> float:
    """Return when the training was started, in seconds since the epoch; 0 when the state does not say."""
    value: Any = state.get("timestamp")
    usable = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e11
    return float(value) if usable else 0.0

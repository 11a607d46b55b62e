"""Earlier states of a run: compare, restore, and repair a state that cannot be read."""

import json
import re
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from fluxgym.config.settings import STATE_KEYS, TrainConfig
from fluxgym.contract.codes import ENDED, Status
from fluxgym.engines.registry import is_executing, status_of
from fluxgym.errors import SessionError, SessionNotFound, UnreadableState
from fluxgym.runs.exit_record import read_exit
from fluxgym.runs.files import read_json, run_lock, storage_error, write_json
from fluxgym.runs.launch_spec import read_launch_spec
from fluxgym.runs.paths import OutputsPaths, RunPaths
from fluxgym.runs.process_identity import read_record
from fluxgym.runs.state import State, create_state, read_state, update_state
from fluxgym.sessions.known_settings import known_settings
from fluxgym.sessions.preconditions import ensure_ended, name_lock


@dataclass(frozen=True, kw_only=True)
class Version:
    """An earlier state; kept_at is in seconds since the epoch."""

    id: str
    kept_at: float
    state: State
    exit: dict[str, Any] | None


def save_version(run: RunPaths, into: RunPaths | None = None) -> None:
    """Save a run's current state and exit record in its history, or in that of the run that replaces it; an unreadable state is skipped."""
    try:
        state = read_state(run)
    except UnreadableState:
        return
    target, end = (into or run).history, read_exit(run)
    if into is not None and run.history.is_dir():
        shutil.copytree(run.history, target, dirs_exist_ok=True)
    name, number = re.sub(r"[^A-Za-z0-9_-]", "-", str(state.get("run_id") or "unknown"))[:64], 1
    while (path := target / f"{name}-{number}.json").exists():
        number += 1
    write_json(path, {"kept_at": time.time(), "state": state, "exit": end and asdict(end)})


def versions(run: RunPaths) -> list[Version]:
    """Return the earlier states, newest first; damaged ones are skipped."""
    found = [_version(path.stem, read_json(path)) for path in run.history.glob("*.json")]
    return sorted((version for version in found if version), key=lambda version: (version.kept_at, version.id), reverse=True)


def _version(name: str, value: Any) -> Version | None:
    try:
        kept_at, state, end = float(value["kept_at"]), value["state"], value.get("exit")
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
        return None
    if not 0 <= kept_at < 1e11 or not isinstance(state, dict):
        return None
    return Version(id=name, kept_at=kept_at, state=state, exit=end if isinstance(end, dict) else None)


def find_version(run: RunPaths, version_id: str) -> Version:
    """Return one earlier state; raises SessionNotFound, which lists the existing ones."""
    every = versions(run)
    for version in every:
        if version.id == version_id:
            return version
    there = ", ".join(version.id for version in every) or "none"
    raise SessionNotFound(f"{run.slug} has no earlier state “{version_id[:80]}”; there are: {there}.")


def diff(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return the differences between two states' settings, one line each: "max_train_epochs: 16 → 20"."""
    old, new = _flat(before), _flat(after)
    names = [*(name for name in old if name in new), *(name for name in old if name not in new), *(name for name in new if name not in old)]
    return [f"{name}: {_shown(old.get(name))} → {_shown(new.get(name))}" for name in names if old.get(name) != new.get(name)]


def _flat(state: Mapping[str, Any]) -> dict[str, Any]:
    advanced = state.get("advanced")
    flat = {name: state[name] for name in STATE_KEYS if name in state and name != "advanced"}
    return flat | (dict(advanced) if isinstance(advanced, Mapping) else {})


def _shown(value: Any) -> str:
    text = "not set" if value is None else json.dumps(value, ensure_ascii=False) if isinstance(value, (str, list, dict)) else str(value)
    return text if len(text) <= 120 else text[:119] + "…"


RESTORABLE = ENDED - {Status.COMPLETED}  # the settings of a completed run tell how it was trained


def can_restore(run: RunPaths, status: Status) -> bool:
    """Return True if earlier settings of a run of this status can be restored now."""
    return status in RESTORABLE and not is_executing(run)


def restore(run: RunPaths, version_id: str) -> list[str]:
    """Restore an earlier state's settings, after the current ones were saved as a version; return the differences.

    Status and identity stay. Raises SessionError for a completed run, SessionNotFound for an unknown version,
    ConfigError for one whose settings cannot be used, AlreadyRunning while the run lives.
    """
    with name_lock(OutputsPaths(run.folder.parent), run.slug):  # no start may happen between check and change
        version, current = find_version(run, version_id), read_state(run)
        TrainConfig.from_state({"lora_name": run.slug, **version.state})
        ensure_ended(run)
        if status_of(run, current).status not in RESTORABLE:
            raise SessionError(f"{run.slug} is completed, and its settings record how; duplicate it, and restore earlier ones in the copy.")
        save_version(run)
        update_state(run, {name: version.state.get(name) for name in STATE_KEYS})
    return diff(current, version.state)


def repair(run: RunPaths) -> State:
    """Replace a state that cannot be read by one built from the history or the run's other files, and return it.

    Raises:
        SessionError: If the state can be read.
        SessionNotFound: If there is no state file.
    """
    if not run.ui_state.exists():
        raise SessionNotFound(f"There is no run “{run.slug}”.")
    with run_lock(run.lock):
        try:
            read_state(run)
        except UnreadableState:
            pass
        else:
            raise SessionError(f"The state of {run.slug} can be read, so there is nothing to repair.")
        state = _settings(run) | _recorded_end(run)
        try:
            run.ui_state.rename(run.folder / f"ui_state.damaged-{time.strftime('%Y%m%d-%H%M%S')}")
        except OSError as error:
            raise storage_error(error, run.ui_state) from error
        create_state(run, state)
    return state


def _settings(run: RunPaths) -> State:
    """Return the newest settings of the history, else those that the run's other files hold."""
    for version in versions(run):
        return {name: version.state[name] for name in STATE_KEYS if name in version.state}
    return known_settings(run.folder)


def _recorded_end(run: RunPaths) -> State:
    """Return status and identity of the run from exit.json, process.json and launch.json."""
    end, record, spec = read_exit(run), read_record(run), read_launch_spec(run)
    known: State = {"timestamp": record.started_at if record else run.folder.stat().st_mtime, "status": Status.STOPPED}
    if spec is not None:
        known["run_id"] = spec.run_id
    if end is not None:
        known |= {"status": end.status, "reason": end.reason, "reason_code": end.reason_code, "run_id": end.run_id}
    return {name: value for name, value in known.items() if value not in (None, "")}

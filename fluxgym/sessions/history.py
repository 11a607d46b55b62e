"""Earlier states of a run: compare, restore, and repair a state that cannot be read."""

import json
import logging
import os
import re
import secrets
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fluxgym.config.settings import STATE_KEYS, TrainConfig
from fluxgym.contract.codes import ENDED, Status
from fluxgym.contract.regular_files import UnsafeFile, copy_regular
from fluxgym.contract.volumes import sync_folder
from fluxgym.engines.registry import is_executing, status_of
from fluxgym.errors import DamagedState, SessionError, SessionNotFound, UnreadableState
from fluxgym.runs.atomic_files import read_json, write_json
from fluxgym.runs.exit_record import read_exit
from fluxgym.runs.launch_spec import read_launch_spec
from fluxgym.runs.locks import run_lock
from fluxgym.runs.paths import OutputsPaths, RunPaths
from fluxgym.runs.process_identity import read_record
from fluxgym.runs.state import State, create_state, name_of, read_state, update_state
from fluxgym.runs.storage_errors import storage_error
from fluxgym.sessions.known_settings import known_settings
from fluxgym.sessions.preconditions import ensure_ended, name_lock
from fluxgym.sessions.settings_view import SettingChange, changes

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Version:
    """An earlier state; kept_at is in seconds since the epoch."""

    id: str
    kept_at: float
    state: State
    exit: dict[str, Any] | None


def save_version(run: RunPaths, into: RunPaths | None = None) -> None:
    """Save a run's current state and exit record in its history, or in the history of the run that replaces it.

    A state that cannot be read is skipped.
    """
    try:
        state = read_state(run)
    except UnreadableState:
        return
    target, end = (into or run).history, read_exit(run)
    if into is not None:
        _copy_versions(run.history, target)
    name, number = re.sub(r"[^A-Za-z0-9_-]", "-", str(state.get("run_id") or "unknown"))[:64], 1
    while (path := target / f"{name}-{number}.json").exists():
        number += 1
    write_json(path, {"kept_at": time.time(), "state": state, "exit": end and asdict(end)})


def _copy_versions(source: Path, target: Path) -> None:
    """Copy the earlier states of a run; links, pipes and folders are not states, and left out.

    Raises:
        StorageError: If the disk is full.
    """
    for path in sorted(source.glob("*.json")):
        try:
            target.mkdir(parents=True, exist_ok=True)
            copy_regular(path, target / path.name)
        except UnsafeFile as error:
            log.warning("%s is not copied: %s", path, error.strerror)
        except OSError as error:
            raise storage_error(error, target) from error


def versions(run: RunPaths) -> list[Version]:
    """Return the earlier states, newest first; damaged ones are skipped."""
    candidates = [_version(path.stem, read_json(path)) for path in run.history.glob("*.json")]
    return sorted((version for version in candidates if version), key=lambda version: (version.kept_at, version.id), reverse=True)


def unreadable_versions(run: RunPaths) -> list[str]:
    """Return the names of the files of earlier states that `versions` skips."""
    return sorted(path.name for path in run.history.glob("*.json") if _version(path.stem, read_json(path)) is None)


def resumed_after(version: Version, after: State) -> int | None:
    """Return the last step before a resume, None if the later state is of another start or the step is not known."""
    step = (version.exit or {}).get("last_step")
    is_resume = version.state.get("run_id") == after.get("run_id")
    return step if is_resume and isinstance(step, int) and step > 0 else None


def _version(name: str, value: Any) -> Version | None:
    try:
        kept_at, state, end = float(value["kept_at"]), value["state"], value.get("exit")
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
        return None
    if not 0 <= kept_at < 1e11 or not isinstance(state, dict):
        return None
    return Version(id=name, kept_at=kept_at, state=state, exit=end if isinstance(end, dict) else None)


def find_version(run: RunPaths, version_id: str) -> Version:
    """Return one earlier state.

    Raises:
        SessionNotFound: If there is none; the message lists the existing ones.
    """
    every = versions(run)
    for version in every:
        if version.id == version_id:
            return version
    there = ", ".join(version.id for version in every) or "none"
    raise SessionNotFound(f"{name_of(run)} has no earlier state “{version_id[:80]}”; there are: {there}.")


def diff(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return the differences between two states' settings, one line each: "max_train_epochs: 16 → 20"."""
    return [f"{change.name}: {_shown(change.before)} → {_shown(change.after)}" for change in changes(before, after)]


def restorable_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[SettingChange]:
    """Return the differences between two states' settings that `restore` would undo: all but the name, which is the run's own."""
    return [change for change in changes(before, after) if change.name != "lora_name"]


def later_states(versions: Sequence[Version], current: State) -> list[State]:
    """Return the state that replaced each version: that of the next newer one, of the newest the current state."""
    return [current, *(version.state for version in versions)][: len(versions)]


def _shown(value: Any) -> str:
    text = "not set" if value is None else json.dumps(value, ensure_ascii=False) if isinstance(value, (str, list, dict)) else str(value)
    return text if len(text) <= 120 else text[:119] + "…"


RESTORABLE = ENDED - {Status.COMPLETED}  # the settings of a completed run record how it was trained


def can_restore(run: RunPaths, status: Status) -> bool:
    """Return True if earlier settings of a run of this status can be restored now."""
    return status in RESTORABLE and not is_executing(run)


def restore(run: RunPaths, version_id: str) -> list[str]:
    """Restore an earlier state's settings, after the current ones were saved as a version; return the differences.

    Status, identity and name stay.

    Raises:
        SessionError: If the run is completed.
        SessionNotFound: If there is no such version.
        ConfigError: If the version's settings cannot be used.
        AlreadyRunning: While the run is live.
    """
    with name_lock(OutputsPaths(run.folder.parent), run.slug):  # no start may happen between check and change
        version, current = find_version(run, version_id), read_state(run)
        TrainConfig.from_state({"lora_name": run.slug, **version.state})
        ensure_ended(run)
        if status_of(run, current).status not in RESTORABLE:
            raise SessionError(
                f"{name_of(run)} is completed, and its settings record how; duplicate it, and restore earlier ones in the copy."
            )
        save_version(run)
        restored = {name: version.state.get(name) for name in STATE_KEYS if name != "lora_name"}
        update_state(run, restored)
    return diff(current, current | restored)


def repair(run: RunPaths) -> State:
    """Replace a damaged state by one built from the history or the run's other files, and return it. The damaged file is kept beside it.

    Raises:
        SessionError: If the state can be read, or if it cannot be known whether it is damaged.
        SessionNotFound: If there is no state file.
        AlreadyRunning: If the run is live.
    """
    if not os.path.lexists(run.ui_state):
        raise SessionNotFound(f"There is no run “{run.slug}”.")
    with name_lock(OutputsPaths(run.folder.parent), run.slug):  # no start may happen meanwhile
        ensure_ended(run)
        with run_lock(run.lock):
            _ensure_damaged(run)
            state = _settings(run) | _recorded_end(run)
            _replace_damaged(run, state)
    return state


def _ensure_damaged(run: RunPaths) -> None:
    try:
        read_state(run)
    except DamagedState:
        return
    except UnreadableState as error:
        raise SessionError(f"It is not known whether the state of {run.slug} is damaged, so nothing was changed: {error}") from None
    raise SessionError(f"The state of {name_of(run)} can be read, so there is nothing to repair.")


def _replace_damaged(run: RunPaths, state: State) -> None:
    """Replace a damaged state and keep it under another name.

    The new state is written first and renamed last, so that an error changes nothing.
    """
    new = RunPaths(run.folder / f".repaired-{secrets.token_hex(4)}")
    damaged = run.folder / f"ui_state.damaged-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
    try:
        create_state(new, state)
        has_both = _linked(run.ui_state, damaged)
        if not has_both:
            run.ui_state.rename(damaged)
        try:
            new.ui_state.replace(run.ui_state)
        except OSError:
            damaged.replace(run.ui_state)
            raise
        sync_folder(run.folder)
    except OSError as error:
        raise storage_error(error, run.ui_state) from error
    finally:
        shutil.rmtree(new.folder, ignore_errors=True)


def _linked(path: Path, target: Path) -> bool:
    """Give a file, or a link itself, a second name; returns False if the volume cannot."""
    try:
        os.link(path, target, follow_symlinks=False)
    except OSError:
        return False
    return True


def _settings(run: RunPaths) -> State:
    """Return the newest settings of the history, else those that the run's other files hold."""
    for version in versions(run):
        return {name: version.state[name] for name in STATE_KEYS if name in version.state}
    return known_settings(run.folder)


def _recorded_end(run: RunPaths) -> State:
    """Return status and identity of the run from exit.json, process.json and launch.json."""
    end, record, spec = read_exit(run), read_record(run), read_launch_spec(run)
    recorded: State = {"timestamp": record.started_at if record else run.folder.stat().st_mtime, "status": Status.STOPPED}
    if spec is not None:
        recorded["run_id"] = spec.run_id
    if end is not None:
        recorded |= {"status": end.status, "reason": end.reason, "reason_code": end.reason_code, "run_id": end.run_id}
    return {name: value for name, value in recorded.items() if value not in (None, "")}

"""The list of sessions, the run with a given name, and the run that the form shows on load."""

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fluxgym.config.values import to_integer
from fluxgym.contract.codes import LIVE, ReasonCode, Status
from fluxgym.contract.progress import is_number
from fluxgym.engines.registry import observe_run
from fluxgym.errors import FluxGymError, SessionNotFound, UnreadableState
from fluxgym.runs.paths import OutputsPaths, RunPaths
from fluxgym.runs.progress import eta_s
from fluxgym.runs.snapshot import RunSnapshot
from fluxgym.runs.state import read_state, shown_name, timestamp_of
from fluxgym.runs.status import EngineState, SessionStatus, derive_status, is_monitored
from fluxgym.runs.storage_errors import storage_error
from fluxgym.sessions.index import SessionIndex

SHOWN = ("time", "attempt", "phase", "step", "total_steps", "epoch", "loss", "lr", "s_per_it", "vram_mb", "rss_mb", "item", "num_items")


@dataclass(frozen=True, kw_only=True)
class Session:
    """One row of the list, as `fluxgym sessions --json` prints it. name distinguishes the run from others; started is in seconds since the epoch."""

    slug: str
    lora_name: str
    status: Status
    reason_code: str
    reason: str
    started: float
    max_train_epochs: int | None
    checkpointing: bool
    monitoring: bool
    progress: dict[str, Any]
    folder: str
    run_id: str | None
    name: str

    def to_json(self) -> dict[str, Any]:
        """Return the row with types that JSON has."""
        return asdict(self) | {"status": self.status.value}


def list_sessions(outputs: Path) -> list[Session]:
    """Return every session, newest first.

    Raises:
        StorageError: If the folder itself cannot be read.
    """
    try:
        sessions = [session_of(run) for run in OutputsPaths(outputs).runs()]
    except OSError as error:
        raise storage_error(error, outputs) from error
    return sorted((session for session in sessions if session), key=lambda session: (-session.started, session.slug))


def session_of(run: RunPaths) -> Session | None:
    """Return a run's row, None if its state was removed meanwhile."""
    session_and_state = read_session(run)
    return None if session_and_state is None else session_and_state[0]


def read_session(run: RunPaths) -> tuple[Session, RunSnapshot] | None:
    """Return a run's row and the snapshot that it was made from, None if its state was removed meanwhile."""
    try:
        written_at = run.ui_state.lstat().st_mtime
    except FileNotFoundError:
        return None
    except OSError:
        written_at = 0.0  # reading the state below gives the reason
    try:
        snapshot = RunSnapshot(run, read_state(run))
    except UnreadableState as error:
        snapshot = RunSnapshot(run, {})
        damaged = SessionStatus(Status.UNREADABLE, ReasonCode.UNREADABLE, str(error))
        return _row(snapshot, observe_run(snapshot), damaged, written_at), snapshot
    engine_state = observe_run(snapshot)
    started = timestamp_of(snapshot.state) or written_at
    return _row(snapshot, engine_state, derive_status(snapshot, engine_state), started), snapshot


def _row(snapshot: RunSnapshot, engine_state: EngineState, derived: SessionStatus, started: float) -> Session:
    run, state = snapshot.run, snapshot.state
    is_readable = derived.status is not Status.UNREADABLE
    return Session(
        slug=run.slug,
        lora_name=str(state.get("lora_name") or run.slug),
        status=derived.status,
        reason_code=derived.reason_code,
        reason=derived.reason,
        started=started,
        max_train_epochs=_launched_epochs(snapshot, derived.status) or _integer_or_none(state.get("max_train_epochs")),
        checkpointing=str(state.get("enable_checkpointing")).strip().lower() in ("true", "1", "yes", "on"),
        monitoring=is_monitored(snapshot, engine_state),
        progress=progress_of(snapshot, is_live=derived.status in LIVE) if is_readable else {},
        folder=str(run.folder),
        run_id=state.get("run_id") if isinstance(state.get("run_id"), str) else None,
        name=shown_name(run.slug, state),
    )


def _launched_epochs(snapshot: RunSnapshot, status: Status) -> int | None:
    """Return the epochs that a live run was launched with, whatever its state was edited to since; None if that is not known."""
    spec = snapshot.launch_spec if status in LIVE else None
    return None if spec is None else spec.max_train_epochs or None


def _integer_or_none(value: Any) -> int | None:
    """Return a value of an edited state as an integer, such as 20 for "20" or 20.0; None if it is not a whole number."""
    try:
        number = to_integer(value)
    except ValueError:
        return None
    return number if is_number(number) else None


def progress_of(snapshot: RunSnapshot, *, is_live: bool) -> dict[str, Any]:
    """Return the trainer's last line with the last known loss and speed; while it is alive also the remaining seconds."""
    last, last_with_loss = snapshot.last_lines
    if last is None:
        return {}
    record, spec = snapshot.process_record, snapshot.launch_spec
    attempt = max(spec.attempt if spec is not None else 0, record.attempt if record is not None else 0)
    if is_live and attempt and last.get("attempt", 1) != attempt:  # this attempt has not reported anything yet
        return {name: last[name] for name in ("step", "total_steps") if name in last}
    from_loss_line = ("loss", "lr", "s_per_it", "epoch", "total_steps")
    fields = {name: last_with_loss[name] for name in from_loss_line if last_with_loss and name in last_with_loss} | last
    remaining = eta_s(fields) if is_live else None
    return {name: fields[name] for name in SHOWN if name in fields} | ({} if remaining is None else {"eta_s": remaining})


def find_run(name: str, outputs: Path) -> RunPaths:
    """Return the run with a folder of this name, else the only run with this LoRA name.

    Raises:
        SessionNotFound: If there is no such run, or several.
    """
    paths = OutputsPaths(outputs)
    try:
        run = paths.run(name)
    except SessionNotFound:
        run = None
    if run is not None and os.path.lexists(run.ui_state):
        return run
    named = sorted(session.slug for session in list_sessions(outputs) if session.lora_name == name)
    if len(named) == 1:
        return paths.run(named[0])
    if named:
        raise SessionNotFound(f"Several runs are named “{name[:80]}”: {', '.join(named)}; use the name of a folder.")
    raise SessionNotFound(f"There is no run “{name[:80]}” in {outputs}; python -m fluxgym sessions lists all runs.")


def last_session(outputs: OutputsPaths, index: SessionIndex, viewed: str | None = None) -> RunPaths | None:
    """Return the run to show: the one last viewed, else the newest readable one; None if there is no run."""
    if viewed:
        try:
            run = outputs.run(viewed)
        except FluxGymError:
            run = None
        if run is not None and os.path.lexists(run.ui_state):
            return run
    return next((outputs.run(entry.slug) for entry in index.entries() if entry.status is not Status.UNREADABLE), None)

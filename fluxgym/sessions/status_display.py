"""How a run's status and times are shown: the word of the status, the label of its date, and when it ended."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fluxgym.contract.codes import LIVE, Status
from fluxgym.contract.progress import is_number
from fluxgym.engines.registry import engine_of
from fluxgym.runs.path_checks import is_regular
from fluxgym.runs.paths import RunPaths
from fluxgym.runs.snapshot import RunSnapshot
from fluxgym.runs.state import State, timestamp_of
from fluxgym.runs.status import SYMBOLS
from fluxgym.sessions.listing import Session
from fluxgym.sessions.origin import Origin, adopted_at, imported_at, is_unstarted
from fluxgym.sessions.run_metrics import first_start


@dataclass(frozen=True, kw_only=True)
class LabeledTime:
    """A time in seconds since the epoch, with a word for what happened then, such as “Started” or “Imported”."""

    word: str
    at: float


STATUS_WORDS: Mapping[Status, str] = {
    Status.RUNNING: "Running", Status.STARTING: "Starting", Status.QUEUED: "Queued", Status.STOPPED: "Stopped",
    Status.COMPLETED: "Completed", Status.FAILED: "Failed", Status.UNREADABLE: "Cannot be read",
}  # fmt: skip
UNSTARTED_WORDS: Mapping[Origin, str] = {Origin.COPY: "Not started", Origin.IMPORT: "Imported"}
STOPPING = "Stopping"


def status_word(status: Status, origin: Origin, *, is_stopping: bool) -> str:
    """Return the word for a status; a copy or an import that was not started is neither stopped nor completed."""
    if is_stopping:
        return STOPPING
    return UNSTARTED_WORDS[origin] if is_unstarted(status, origin) else STATUS_WORDS[status]


def status_symbol(status: Status, *, is_stopping: bool) -> str:
    """Return the guide's symbol for a status."""
    return SYMBOLS[Status.STARTING if is_stopping else status]


def is_stopping(run: RunPaths, status: Status) -> bool:
    """Return True if a run that lives has a stop request."""
    return status in LIVE and run.stop.exists()


def began_at(snapshot: RunSnapshot, session: Session, origin: Origin) -> LabeledTime:
    """Return the time of a row's date with its word, which is “Started” only if a training was started then."""
    run, state = snapshot.run, snapshot.state
    if session.status is Status.UNREADABLE:
        return LabeledTime(word="Changed", at=session.started)
    first, record = first_start(snapshot), snapshot.process_record
    if session.status is Status.QUEUED:
        since = engine_of(run).queue.waiting_since(run)
        return LabeledTime(word="Queued", at=session.started if since is None else since)
    if origin is Origin.COPY:
        return LabeledTime(word="Copied", at=session.started)
    if origin is Origin.IMPORT:
        arrived = _import_time(run, state)
        is_trained = is_regular(run.lora) and session.started < arrived - 1  # a state without a time gets the time of its import
        return LabeledTime(word="Trained", at=session.started) if is_trained else LabeledTime(word="Imported", at=arrived)
    if first is None and record is None and (adopted := adopted_at(state)) is not None:
        return LabeledTime(word="Adopted", at=adopted)
    if first is None and not timestamp_of(state):
        return LabeledTime(word="Changed", at=session.started)  # the time of the file
    if first is not None and first >= session.started:
        return LabeledTime(word="Started", at=first)
    was_started = first is not None or record is None or record.attempt > 1 or session.status in LIVE
    return LabeledTime(word="Started" if was_started else "Queued", at=session.started)


def _import_time(run: RunPaths, state: State) -> float:
    """Return when a run was imported. Earlier versions did not record it; they wrote the run's state at that time."""
    return imported_at(state) or run.ui_state.stat().st_mtime


def ended_at(snapshot: RunSnapshot) -> float | None:
    """Return when a run's latest attempt ended, in seconds since the epoch, None if that is not known."""
    record = snapshot.exit_record
    if record is not None and record.ended_at is not None:
        return record.ended_at
    value: Any = snapshot.state.get("completed_at")
    return float(value) if is_number(value) and 0 < value < 1e11 else None

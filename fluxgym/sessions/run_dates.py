"""The dates of a run, as all lists show them and are sorted by them: when it was started, queued, copied or imported, and when it ended."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fluxgym.contract.codes import LIVE, Status
from fluxgym.contract.progress import is_number
from fluxgym.engines.registry import engine_of
from fluxgym.runs.atomic_files import read_json
from fluxgym.runs.path_checks import is_regular
from fluxgym.runs.paths import RunPaths
from fluxgym.runs.progress import read_first
from fluxgym.runs.snapshot import RunSnapshot
from fluxgym.runs.state import timestamp_of
from fluxgym.sessions.origin import Origin, adopted_at, imported_at, trained_elsewhere_at


@dataclass(frozen=True, kw_only=True)
class LabeledTime:
    """A time in seconds since the epoch, with a word for what happened then, such as “Started” or “Imported”."""

    word: str
    at: float


def date_of(snapshot: RunSnapshot, status: Status, origin: Origin, requested: float) -> LabeledTime:
    """Return the date of a run with its word, which is “Started” only if a trainer was started then.

    requested is the time in its state, when Start was pressed; of a state without one, or that cannot be read, the time of the file.
    """
    run, state = snapshot.run, snapshot.state
    if status is Status.UNREADABLE:
        return LabeledTime(word="Changed", at=requested)
    if status is Status.QUEUED:
        since = engine_of(run).queue.waiting_since(run)
        return LabeledTime(word="Queued", at=requested if since is None else since)
    if origin is Origin.COPY:
        return LabeledTime(word="Copied", at=requested)
    if origin is Origin.IMPORT:
        arrived = imported_at(state) or run.ui_state.stat().st_mtime  # earlier versions only wrote the run's state at that time
        trained = trained_elsewhere_at(state) if is_regular(run.lora) else None
        return LabeledTime(word="Imported", at=arrived) if trained is None else LabeledTime(word="Trained", at=trained)
    return _date_of_start(snapshot, status, requested)


def _date_of_start(snapshot: RunSnapshot, status: Status, requested: float) -> LabeledTime:
    """Return the date of a run that was started here."""
    first = first_start(snapshot)
    if first is not None:
        return LabeledTime(word="Started", at=first)
    record = snapshot.process_record
    if record is None and (adopted := adopted_at(snapshot.state)) is not None:
        return LabeledTime(word="Adopted", at=adopted)
    if not timestamp_of(snapshot.state):
        return LabeledTime(word="Changed", at=requested)  # the time of the file
    was_started = record is None or record.attempt > 1 or status in LIVE
    return LabeledTime(word="Started" if was_started else "Queued", at=requested)


def first_start(snapshot: RunSnapshot) -> float | None:
    """Return when the first trainer of a run was started, in seconds since the epoch.

    Each attempt's record of its processes, and of its end, has this time; the latter is kept in the run's history when it is resumed. Runs without
    these records, such as those of other trainers, have the time of their first progress line. Return None if no trainer was started: the
    run waits, or was canceled while it waited.
    """
    run = snapshot.run
    if os.path.exists(run.private):  # noqa: PTH110 (ten thousand calls)
        end, record = snapshot.exit_record, snapshot.process_record
        if end is not None and end.attempt == 1 and (at := _time(end.started_at)) is not None:
            return at
        if record is not None and record.attempt == 1 and record.trainer is not None:
            return record.started_at
        if record is not None and record.attempt > 1 and (earlier := _first_in_history(run, record.run_id)) is not None:
            return earlier
    line = read_first(run.progress)
    reported = None if line is None else _time(line.get("time"))
    return _trainer_start(snapshot) if reported is None else reported


def _trainer_start(snapshot: RunSnapshot) -> float | None:
    """Return when the latest trainer was started, None if the latest attempt had none."""
    record = snapshot.process_record
    return record.started_at if record is not None and record.trainer is not None else None


def _first_in_history(run: RunPaths, run_id: str) -> float | None:
    """Return when the first attempt of a start began, from the record of its end in the run's history; None if it is not there."""
    for path in run.history.glob("*.json"):
        version = read_json(path)
        end = version.get("exit") if isinstance(version, Mapping) else None
        if isinstance(end, Mapping) and (end.get("run_id"), end.get("attempt")) == (run_id, 1):
            return _time(end.get("started_at"))
    return None


def _time(value: Any) -> float | None:
    return float(value) if is_number(value) and 0 < value < 1e11 else None


def ended_at(snapshot: RunSnapshot) -> float | None:
    """Return when a run's latest attempt ended, in seconds since the epoch, None if that is not known."""
    record = snapshot.exit_record
    if record is not None and record.ended_at is not None:
        return record.ended_at
    return _time(snapshot.state.get("completed_at"))

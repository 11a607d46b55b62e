"""Start, steps, last loss and duration of runs. Those of an ended run are read once, so that ten thousand runs can be sorted by them."""

import threading
from dataclasses import dataclass
from typing import Any

from fluxgym.contract.codes import LIVE
from fluxgym.contract.progress import is_number
from fluxgym.runs.launch_spec import read_launch_spec
from fluxgym.runs.paths import OutputsPaths
from fluxgym.runs.progress import read_first
from fluxgym.runs.snapshot import RunSnapshot
from fluxgym.sessions.index import Entry


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """What a run has reached; a figure is None if it is not known. duration_s is of the last attempt, which has ended."""

    step: int | None = None
    total_steps: int | None = None
    loss: float | None = None
    duration_s: float | None = None


def figures_of(snapshot: RunSnapshot) -> Figures:
    """Return the figures of a run from progress.jsonl, exit.json and launch.json."""
    last, last_with_loss = snapshot.last_lines
    end, spec = snapshot.exit_record, read_launch_spec(snapshot.run) if last is None else None
    known: dict[str, Any] = (last_with_loss or {}) | (last or {})
    duration = end.ended_at - end.started_at if end is not None and end.ended_at and end.started_at else None
    return Figures(
        step=_integer(known.get("step")),
        total_steps=_integer(known.get("total_steps")) or (spec.expected_steps if spec is not None else None),
        loss=float(known["loss"]) if is_number(known.get("loss")) else None,
        duration_s=duration if duration is not None and duration >= 0 else None,
    )


def first_start(snapshot: RunSnapshot) -> float | None:
    """Return when the first trainer of a run was started, in seconds since the epoch.

    None if none was: the run waits, or it was canceled while it waited. Its supervisor then is recorded without a trainer.
    """
    record, end = snapshot.process_record, snapshot.exit_record
    if record is not None and record.attempt == 1 and record.trainer is not None:
        return record.started_at
    if end is not None and end.attempt == 1 and end.started_at is not None:
        return end.started_at
    line = read_first(snapshot.run.progress)
    return float(line["time"]) if line is not None and "time" in line else None


def _integer(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


class FigureCache:
    """The figures of one outputs folder, read again when a run's entry in the index has changed or while it lives. Thread-safe."""

    def __init__(self, outputs: OutputsPaths) -> None:
        self._outputs = outputs
        self._kept: dict[str, tuple[Entry, Figures]] = {}
        self._lock = threading.Lock()

    def of(self, entry: Entry) -> Figures:
        """Return the figures of a run of the index."""
        with self._lock:
            kept = self._kept.get(entry.slug)
        if kept is not None and kept[0] is entry and entry.status not in LIVE:
            return kept[1]
        figures = figures_of(
            RunSnapshot(self._outputs.run(entry.slug), {})
        )  # without the lock, so that no request waits while another run is read
        with self._lock:
            self._kept[entry.slug] = (entry, figures)
        return figures

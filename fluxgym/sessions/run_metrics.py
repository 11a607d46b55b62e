"""Metrics of runs: start, steps, last loss and duration.

The files of an ended run are read once, so that ten thousand runs can be sorted by these metrics. The duration of a run is the sum over
its attempts.
"""

import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fluxgym.contract.codes import LIVE
from fluxgym.contract.progress import Line, is_number
from fluxgym.contract.regular_files import open_regular
from fluxgym.runs.exit_record import ExitRecord
from fluxgym.runs.paths import OutputsPaths
from fluxgym.runs.progress import lines_in, read_first
from fluxgym.runs.snapshot import RunSnapshot
from fluxgym.sessions.index import Entry


@dataclass(frozen=True, kw_only=True, slots=True)
class RunMetrics:
    """The metrics of a run, None where unknown. duration_s is the sum over the attempts that have ended."""

    step: int | None = None
    total_steps: int | None = None
    loss: float | None = None
    duration_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class TrainingRecord:
    """The content of progress.jsonl for the complete training.

    validation is the validation loss by step, epoch_ends the last step of each epoch, spans the times of the first and the last line of
    each attempt.
    """

    validation: Mapping[int, float]
    epoch_ends: Mapping[int, int]
    spans: Mapping[int, tuple[float, float]]


NO_RECORD = TrainingRecord(validation={}, epoch_ends={}, spans={})


Spans = Mapping[int, tuple[float, float]]  # attempt -> times of its first and its last progress line


class AttemptSpans:
    """Reads from progress.jsonl when the attempts of runs began and ended; only appended lines are read again. Thread-safe."""

    def __init__(self) -> None:
        self._cached: dict[Path, tuple[int, int, dict[int, tuple[float, float]]]] = {}  # inode, bytes that were read, spans
        self._lock = threading.Lock()

    def of(self, snapshot: RunSnapshot) -> Spans:
        """Return the spans of a run. For a run that was never resumed, only the start and the end of the file are read."""
        first, last = read_first(snapshot.run.progress), snapshot.last_lines[0]
        if first is None or last is None:
            return {}
        if first.get("attempt", 1) == last.get("attempt", 1):
            return add_span(add_span({}, first), last)
        with self._lock:
            return dict(self._read(snapshot.run.progress))

    def _read(self, path: Path) -> dict[int, tuple[float, float]]:
        inode, offset, spans = self._cached.get(path, (0, 0, {}))
        try:
            with open_regular(path) as file:
                status = os.fstat(file.fileno())
                if status.st_ino != inode or status.st_size < offset:
                    offset, spans = 0, {}
                file.seek(offset)
                data = file.read(status.st_size - offset)
        except OSError:
            return {}
        complete = data[: data.rfind(b"\n") + 1]
        for line in lines_in(complete.splitlines()):
            spans = add_span(spans, line)
        self._cached[path] = status.st_ino, offset + len(complete), spans
        return spans


def add_span(spans: dict[int, tuple[float, float]], line: Line) -> dict[int, tuple[float, float]]:
    """Return the spans after another progress line."""
    time, attempt = line.get("time"), line.get("attempt", 1)
    if isinstance(time, (int, float)) and isinstance(attempt, int):
        first, last = spans.get(attempt, (time, time))
        spans[attempt] = min(first, time), max(last, time)
    return spans


def total_s(spans: Spans, end: ExitRecord | None) -> float | None:
    """Return the seconds of all attempts together, None if unknown. The last attempt includes the verification of its LoRA."""
    all_spans = dict(spans)
    if end is not None and end.ended_at:
        first, last = all_spans.get(end.attempt, (end.started_at, end.ended_at))
        if (began := end.started_at or first) is not None:
            all_spans[end.attempt] = began, max(last, end.ended_at)
    total = sum(last - first for first, last in all_spans.values())
    return total if all_spans and total >= 0 else None


def earlier_s(spans: Spans, attempt: int) -> float:
    """Return the seconds of all attempts before the given one."""
    return sum(last - first for number, (first, last) in spans.items() if number < attempt)


def metrics_of(snapshot: RunSnapshot, spans: Spans) -> RunMetrics:
    """Return the metrics of a run from progress.jsonl, exit.json and launch.json."""
    last, last_with_loss = snapshot.last_lines
    spec = snapshot.latest_launch if last is None else None
    fields: dict[str, Any] = (last_with_loss or {}) | (last or {})
    return RunMetrics(
        step=_integer(fields.get("step")),
        total_steps=_integer(fields.get("total_steps")) or (spec.expected_steps if spec is not None else None),
        loss=float(fields["loss"]) if is_number(fields.get("loss")) else None,
        duration_s=total_s(spans, snapshot.exit_record),
    )


def _integer(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


class MetricsCache:
    """The metrics of one outputs folder, read again if a run's entry in the index has changed or while the run is live. Thread-safe."""

    def __init__(self, outputs: OutputsPaths) -> None:
        self._outputs = outputs
        self._cached: dict[str, tuple[Entry, RunMetrics]] = {}
        self._spans = AttemptSpans()
        self._lock = threading.Lock()

    def of(self, entry: Entry) -> RunMetrics:
        """Return the metrics of a run of the index."""
        with self._lock:
            cached = self._cached.get(entry.slug)
        if cached is not None and cached[0] is entry and entry.status not in LIVE:
            return cached[1]
        snapshot = RunSnapshot(self._outputs.run(entry.slug), {})
        metrics = metrics_of(snapshot, self._spans.of(snapshot))  # without the lock, so that no request waits while another run is read
        with self._lock:
            self._cached[entry.slug] = (entry, metrics)
        return metrics

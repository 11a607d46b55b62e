"""The curves of a run's page, read from progress.jsonl: each line is read once, and each point is sent once.

Beyond 2 * MAX_POINTS, only every 2nd, 4th, 8th ... point is sent, counted from the first, so that new points do not change earlier ones.
"""

import os
import secrets
import threading
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Generic, TypeVar

from fluxgym.contract.codes import Phase
from fluxgym.contract.progress import Line
from fluxgym.contract.regular_files import open_regular
from fluxgym.runs.progress import lines_in
from fluxgym.sessions.run_metrics import NO_RECORD, TrainingRecord, add_span
from fluxgym.ui.api.run_answers import CurvePoints

MAX_POINTS = 800
MAX_CURVES = 16
MAX_LINE_BYTES = 64 << 10
MAX_READ_BYTES = 64 << 20  # per request; the next one continues
Value = TypeVar("Value")


class Series(Generic[Value]):
    """Values in the order of their steps; _turns[i] is the number of the read that last changed value i."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.values: list[Value] = []
        self._turns: list[int] = []

    def put(self, step: int, value: Value, turn: int) -> bool:
        """Set a step's value; returns True if the position of later values has changed."""
        index = len(self.steps) if not self.steps or step > self.steps[-1] else bisect_left(self.steps, step)
        if index < len(self.steps) and self.steps[index] == step:
            self.values[index], self._turns[index] = value, turn
            return False
        self.steps.insert(index, step)
        self.values.insert(index, value)
        self._turns.insert(index, turn)
        return index + 1 < len(self.steps)

    @property
    def interval(self) -> int:
        """The interval of the values that are sent: 2 for every second value."""
        every = 1
        while len(self.steps) > 2 * MAX_POINTS * every:
            every *= 2
        return every

    def changed(self, since: int) -> list[tuple[int, Value]]:
        """Return the (step, value) pairs that are sent and changed after a read."""
        indices = range(0, len(self.steps), self.interval)
        return [(self.steps[index], self.values[index]) for index in indices if self._turns[index] > since]

    def last_omitted(self) -> tuple[int, Value] | None:
        """Return the last (step, value) pair if the thinned series omits it."""
        return (self.steps[-1], self.values[-1]) if (len(self.steps) - 1) % self.interval != 0 else None

    def is_last_newer(self, since: int) -> bool:
        """Return True if the last value changed after a read."""
        return bool(self._turns) and self._turns[-1] > since


class Curve:
    """The points of one file up to the last read."""

    def __init__(self, status: os.stat_result) -> None:
        self._file = status.st_dev, status.st_ino
        self._token = secrets.token_hex(4)
        self._turn = self._offset = 0
        self._training: Series[tuple[float, float | None]] = Series()  # loss and learning rate
        self._validation: Series[float] = Series()
        self._epoch_ends: dict[int, int] = {}
        self._spans: dict[int, tuple[float, float]] = {}

    def is_of(self, status: os.stat_result) -> bool:
        """Return True if a file is the one that was read, unchanged or longer."""
        return (status.st_dev, status.st_ino) == self._file and status.st_size >= self._offset

    def read_appended(self, file: BinaryIO) -> None:
        """Read the lines that were appended since the last read; an incomplete last line is read next time."""
        file.seek(self._offset)
        self._turn += 1
        for line in lines_in(self._complete_lines(file)):
            self._add(line)

    def _complete_lines(self, file: BinaryIO) -> Iterator[bytes]:
        end = self._offset + MAX_READ_BYTES
        while self._offset < end and (line := file.readline(MAX_LINE_BYTES)):
            is_complete = line.endswith(b"\n")
            if not is_complete and len(line) < MAX_LINE_BYTES:
                return
            self._offset += len(line)
            if is_complete:
                yield line  # the end of a line that is too long is not valid, and skipped

    def _add(self, line: Line) -> None:
        self._spans = add_span(self._spans, line)
        step = line.get("step")
        if not isinstance(step, int):
            return
        is_moved = False
        if "loss" in line:
            rate = line.get("lr")
            is_moved = self._training.put(step, (float(line["loss"]), None if rate is None else float(rate)), self._turn)
        if "val_loss" in line:
            is_moved |= self._validation.put(step, float(line["val_loss"]), self._turn)
        if line.get("phase") == Phase.TRAINING and isinstance(epoch := line.get("epoch"), int):
            self._epoch_ends[epoch] = max(step, self._epoch_ends.get(epoch, 0))
        if is_moved:
            self._token = secrets.token_hex(4)

    def record(self) -> TrainingRecord:
        """Return the file's record of the whole training."""
        validation = dict(zip(self._validation.steps, self._validation.values, strict=True))
        return TrainingRecord(validation=validation, epoch_ends=dict(self._epoch_ends), spans=dict(self._spans))

    def changes(self, seen: Any) -> tuple[CurvePoints | None, list[Any]]:
        """Return the points that changed since seen, and the new value of seen: [token, intervals, read]."""
        intervals = [self._training.interval, self._validation.interval]
        is_continued = isinstance(seen, list) and len(seen) == 3 and seen[:2] == [self._token, intervals] and isinstance(seen[2], int)
        since = seen[2] if is_continued else -1
        now = [self._token, intervals, self._turn]
        points, validation = self._training.changed(since), self._validation.changed(since)
        if is_continued and not points and not validation and not self._training.is_last_newer(since):
            return None, now
        last = self._training.last_omitted()
        answer = CurvePoints(
            points=[(step, loss) for step, (loss, _) in points],
            rates=[rate for _, (_, rate) in points],
            last=(last[0], last[1][0]) if last else None,
            last_rate=last[1][1] if last else None,
            validation=validation,
            replace=not is_continued,
        )
        return answer, now


class Curves:
    """The last MAX_CURVES curves that were requested. Thread-safe."""

    def __init__(self) -> None:
        self._curves: dict[Path, Curve] = {}
        self._lock = threading.Lock()

    def changes(self, path: Path, seen: Any) -> tuple[CurvePoints | None, list[Any]]:
        """Return the points of a progress.jsonl that changed since seen ([] at first), and the new value of seen."""
        with self._lock:
            curve = self._read(path)
            if curve is None:
                return (NO_POINTS if seen else None), []
            return curve.changes(seen)

    def record(self, path: Path) -> TrainingRecord:
        """Return a progress.jsonl's record of the whole training."""
        with self._lock:
            curve = self._read(path)
            return NO_RECORD if curve is None else curve.record()

    def _read(self, path: Path) -> Curve | None:
        """Return a file's curve, read to its end, and mark it as the last requested; None if it is not a regular file."""
        before = self._curves.pop(path, None)
        try:
            with open_regular(path) as file:
                status = os.fstat(file.fileno())
                curve = before if before is not None and before.is_of(status) else Curve(status)
                curve.read_appended(file)
        except OSError:
            return None
        self._curves[path] = curve
        for oldest in list(self._curves)[:-MAX_CURVES]:
            del self._curves[oldest]
        return curve


NO_POINTS = CurvePoints(points=[], rates=[], last=None, last_rate=None, validation=[], replace=True)

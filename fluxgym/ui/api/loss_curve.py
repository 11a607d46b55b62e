"""The loss curve of the Run page: each line of progress.jsonl is read once, and each point is sent once.

Beyond 2 * MAX_POINTS, only every 2nd, 4th, 8th ... point is sent, counted from the first, so that new points do not change earlier ones.
"""

import os
import secrets
import stat
import threading
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from fluxgym.runs.files import open_regular
from fluxgym.runs.progress import losses_in
from fluxgym.ui.api.answers import CurvePoints

MAX_POINTS = 800
MAX_CURVES = 16
Point = tuple[int, float]


class Curve:
    """The points of one file up to the last read; _turns[i] is the number of the read that last changed point i."""

    def __init__(self, status: os.stat_result) -> None:
        self._file = status.st_dev, status.st_ino
        self._token = secrets.token_hex(4)
        self._turn = self._offset = 0
        self._steps: list[int] = []
        self._losses: list[float] = []
        self._turns: list[int] = []

    def is_of(self, status: os.stat_result) -> bool:
        """Return True if a file is the one that was read, unchanged or longer."""
        return (status.st_dev, status.st_ino) == self._file and status.st_size >= self._offset

    def read_appended(self, file: BinaryIO) -> None:
        """Read the lines that were appended since the last read; an incomplete last line is read next time."""
        file.seek(self._offset)
        self._turn += 1
        for step, loss in losses_in(self._complete_lines(file)):
            self._put(step, loss)

    def _complete_lines(self, file: BinaryIO) -> Iterator[bytes]:
        for line in file:
            if not line.endswith(b"\n"):
                return
            self._offset += len(line)
            yield line

    def _put(self, step: int, loss: float) -> None:
        index = len(self._steps) if not self._steps or step > self._steps[-1] else bisect_left(self._steps, step)
        if index < len(self._steps) and self._steps[index] == step:
            self._losses[index], self._turns[index] = loss, self._turn
            return
        if index < len(self._steps):
            self._token = secrets.token_hex(4)  # the index of every later point has changed
        self._steps.insert(index, step)
        self._losses.insert(index, loss)
        self._turns.insert(index, self._turn)

    def changes(self, seen: Any) -> tuple[CurvePoints | None, list[Any]]:
        """Return the points that changed since seen, and the new value of seen: [token, every n-th point, read]."""
        every = 1
        while len(self._steps) > 2 * MAX_POINTS * every:
            every *= 2
        known = isinstance(seen, list) and len(seen) == 3 and seen[:2] == [self._token, every] and isinstance(seen[2], int)
        since = seen[2] if known else -1
        now = [self._token, every, self._turn]
        points = [self._point(index) for index in range(0, len(self._steps), every) if self._turns[index] > since]
        if known and not points and not (self._turns and self._turns[-1] > since):
            return None, now
        is_last_skipped = (len(self._steps) - 1) % every != 0
        return CurvePoints(points=points, last=self._point(-1) if is_last_skipped else None, replace=not known), now

    def _point(self, index: int) -> Point:
        return self._steps[index], self._losses[index]


class Curves:
    """The last MAX_CURVES curves that were requested. Thread-safe."""

    def __init__(self) -> None:
        self._kept: dict[Path, Curve] = {}
        self._lock = threading.Lock()

    def changes(self, path: Path, seen: Any) -> tuple[CurvePoints | None, list[Any]]:
        """Return the points of a progress.jsonl that changed since seen ([] at first), and the new value of seen."""
        with self._lock:
            curve = self._read(path)
            if curve is None:
                return (CurvePoints(points=[], last=None, replace=True) if seen else None), []
            return curve.changes(seen)

    def _read(self, path: Path) -> Curve | None:
        """Return a file's curve, read to its end, and mark it as the last requested; None if it is not a regular file."""
        kept = self._kept.pop(path, None)
        try:
            if not stat.S_ISREG(path.stat().st_mode):
                return None  # reading a pipe would block
            with open_regular(path) as file:
                status = os.fstat(file.fileno())
                curve = kept if kept is not None and kept.is_of(status) else Curve(status)
                curve.read_appended(file)
        except OSError:
            return None
        self._kept[path] = curve
        for oldest in list(self._kept)[:-MAX_CURVES]:
            del self._kept[oldest]
        return curve

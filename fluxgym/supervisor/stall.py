"""Stall detection, and how often a stalled trainer is restarted."""

import logging
import os
import signal
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from fluxgym.contract.codes import Phase
from fluxgym.runs.checkpoints import Checkpoint, CheckpointReader, newest_verified
from fluxgym.runs.paths import RunPaths
from fluxgym.runs.process_identity import PROC
from fluxgym.runs.progress import read_last

LIMITS_S: dict[str, float] = {
    Phase.DOWNLOADING: 900.0,
    Phase.LOADING: 1800.0,
    Phase.CACHING: 1800.0,
    Phase.TRAINING: 1800.0,
    Phase.SAMPLING: 1800.0,
    Phase.SAVING: 1200.0,
}
OTHER_LIMIT_S = 1800.0
BY_LINES_ALONE = (Phase.TRAINING, Phase.SAMPLING, Phase.CACHING)
LEAST_S = 120.0
LEARNT_FACTOR = 20.0
LEARNT_AFTER = 3
MAX_LOOK_S = 2.0
DUMP_S = 3.0
log = logging.getLogger("fluxgym.supervisor")
PAUSES_S = (5.0, 30.0, 120.0)  # as many restarts without progress as there are pauses


@dataclass(frozen=True)
class Stall:
    """A phase that has shown no progress for `silent_s` seconds, though `limit_s` is what it may take."""

    phase: str
    idle_s: float
    limit_s: float


class StallWatch:
    """Counts the silence of one trainer; `scale` shrinks every limit, for tests."""

    def __init__(self, run: RunPaths, pid: int, *, scale: float = 1.0) -> None:
        self._run, self._pid, self._scale = run, pid, scale
        self._signs: tuple[int, ...] = ()
        self._looked_at = time.monotonic()
        self._silent_s = 0.0
        self._gaps: defaultdict[str, list[float]] = defaultdict(list)
        self.phase: str = Phase.STARTING

    def look(self) -> Stall | None:
        """Return the stall when there is one. To be called every second or so; a look that comes late counts as MAX_LOOK_S at most.

        Thus a machine that slept, or a frozen supervisor, blames nobody.
        """
        now = time.monotonic()
        self._silent_s += min(now - self._looked_at, MAX_LOOK_S)
        self._looked_at = now
        signs = self._read_signs()
        if signs != self._signs:
            self._on_activity(signs)
        limit = self.limit_s(self.phase)
        return Stall(self.phase, self._silent_s, limit) if self._silent_s > limit else None

    def limit_s(self, phase: str) -> float:
        """Return how long a phase may be silent."""
        gaps = self._gaps[phase]
        if len(gaps) < LEARNT_AFTER:
            return LIMITS_S.get(phase, OTHER_LIMIT_S) * self._scale
        return max(LEAST_S * self._scale, LEARNT_FACTOR * max(gaps))

    def _on_activity(self, signs: tuple[int, ...]) -> None:
        new_line = signs[:1] != self._signs[:1]
        if self._signs and new_line:
            gaps = self._gaps[self.phase]
            gaps.append(self._silent_s)
            self._gaps[self.phase] = sorted(gaps)[-LEARNT_AFTER:]
        self._signs, self._silent_s = signs, 0.0
        if new_line:
            last = read_last(self._run.progress) or {}
            self.phase = str(last.get("phase") or Phase.STARTING)

    def _read_signs(self) -> tuple[int, ...]:
        lines = _size(self._run.progress)
        if self.phase in BY_LINES_ALONE:
            return (lines, *self._signs[1:])
        return (lines, _size(self._run.training_log), _bytes_moved(self._pid))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _bytes_moved(pid: int) -> int:
    """Return how many bytes a process has read and written so far, 0 when the kernel does not say."""
    try:
        fields = dict(line.split(": ") for line in (PROC / str(pid) / "io").read_text().splitlines())
        return int(fields["rchar"]) + int(fields["wchar"])
    except (OSError, ValueError, KeyError):
        return 0


def dump_stacks(pid: int, training_log: Path) -> None:
    """Write into the trainer's log where it is stuck: its Python stacks if it answers SIGUSR1, and in any case what /proc tells.

    A disk that takes no more is only logged: the stall has to be ended all the same.
    """
    try:
        _ask_for_stacks(pid, training_log)
        with training_log.open("a", encoding="utf-8") as file:
            file.write(f"\n== where process {pid} is stuck, as the kernel tells ==\n" + "\n".join(_threads(pid)) + "\n")
    except OSError as error:
        log.warning("where it is stuck could not be written down: %s", error)


def _ask_for_stacks(pid: int, training_log: Path) -> None:
    before = _size(training_log)
    if not _catches(pid, signal.SIGUSR1) or _state(PROC / str(pid)) in ("T", "t"):
        return
    os.kill(pid, signal.SIGUSR1)
    deadline = time.monotonic() + DUMP_S
    while time.monotonic() < deadline and _size(training_log) == before:
        time.sleep(0.05)
    time.sleep(0.2)  # the rest of the stacks


def _catches(pid: int, number: int) -> bool:
    """Return True if a process handles a signal; without a handler it would die of it."""
    try:
        lines = (PROC / str(pid) / "status").read_text().splitlines()
        caught = next(int(line.split()[1], 16) for line in lines if line.startswith("SigCgt"))
    except (OSError, StopIteration, ValueError):
        return False
    return bool(caught >> (number - 1) & 1)


def _state(process: Path) -> str:
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return "unknown"


def _threads(pid: int) -> list[str]:
    lines = []
    for task in sorted((PROC / str(pid) / "task").glob("*"), key=lambda path: int(path.name)):
        name, place = _first_line(task / "comm"), _first_line(task / "wchan")
        lines.append(f"thread {task.name} ({name}): state {_state(task)}, waits in {place or 'nothing known'}")
    return lines


def _first_line(path: Path) -> str:
    try:
        return path.read_text(errors="replace").splitlines()[0]
    except (OSError, IndexError):
        return ""


class Restarts:
    """The restarts of one run; they begin to count again when the training got further than ever before."""

    def __init__(self, run: RunPaths, reader: CheckpointReader) -> None:
        self._run, self._reader = run, reader
        self._furthest = -1
        self._without_progress = 0
        self.count = 0

    def allow(self, step: int) -> float | None:
        """Return the pause in seconds before the next restart after a stall at `step`, None when there have been enough."""
        self._without_progress = 0 if step > self._furthest else self._without_progress
        self._furthest = max(self._furthest, step)
        if self._without_progress >= len(PAUSES_S):
            return None
        self._without_progress += 1
        self.count += 1
        return PAUSES_S[self._without_progress - 1]

    def checkpoint(self) -> Checkpoint | None:
        """Return the newest complete checkpoint, its hashes checked, None when there is none."""
        return newest_verified(self._run, self._reader)

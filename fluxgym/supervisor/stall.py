"""Stall detection, the stacks of a stalled trainer, and how often it is restarted."""

import logging
import signal
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from fluxgym.contract.codes import Phase
from fluxgym.contract.regular_files import append_regular
from fluxgym.runs.checkpoints import Checkpoint, CheckpointReader, newest_verified
from fluxgym.runs.paths import RunPaths
from fluxgym.runs.process_identity import PROC
from fluxgym.runs.progress import read_last
from fluxgym.supervisor.trainer_process import Trainer

LIMITS_S: dict[str, float] = {
    Phase.DOWNLOADING: 900.0,
    Phase.LOADING: 1800.0,
    Phase.CACHING: 1800.0,
    Phase.TRAINING: 1800.0,
    Phase.SAMPLING: 1800.0,
    Phase.SAVING: 1200.0,
}
OTHER_LIMIT_S = 1800.0
LINES_ONLY = (Phase.TRAINING, Phase.SAMPLING, Phase.CACHING)  # phases in which only a new progress line counts as activity
MIN_LEARNED_S = 120.0
LEARNED_FACTOR = 20.0
LEARNED_AFTER = 3  # gaps between lines
MAX_CHECK_GAP_S = 2.0
DUMP_TIMEOUT_S = 3.0
PAUSES_S = (5.0, 30.0, 120.0)  # as many restarts without progress as there are pauses
log = logging.getLogger("fluxgym.supervisor")


@dataclass(frozen=True)
class Stall:
    """A phase without progress for idle_s seconds, which is longer than its limit."""

    phase: str
    idle_s: float
    limit_s: float


class StallWatch:
    """Measures how long one trainer shows no activity; scale multiplies every limit, for tests."""

    def __init__(self, run: RunPaths, pid: int, *, scale: float = 1.0) -> None:
        self._run, self._pid, self._scale = run, pid, scale
        self._activity: tuple[int, ...] = ()
        self._checked_at = time.monotonic()
        self._idle_s = 0.0
        self._gaps: defaultdict[str, list[float]] = defaultdict(list)
        self.phase: str = Phase.STARTING

    def check(self) -> Stall | None:
        """Return the stall if there is one. Call it every second or so; a longer gap between calls counts as MAX_CHECK_GAP_S.

        So a suspended machine or a frozen supervisor does not count as a stall.
        """
        now = time.monotonic()
        self._idle_s += min(now - self._checked_at, MAX_CHECK_GAP_S)
        self._checked_at = now
        activity = self._read_activity()
        if activity != self._activity:
            self._on_activity(activity)
        limit = self.limit_s(self.phase)
        return Stall(self.phase, self._idle_s, limit) if self._idle_s > limit else None

    def limit_s(self, phase: str) -> float:
        """Return how long a phase may be idle: its own limit at first, later a multiple of the longest gap of this run."""
        gaps = self._gaps[phase]
        if len(gaps) < LEARNED_AFTER:
            return LIMITS_S.get(phase, OTHER_LIMIT_S) * self._scale
        return max(MIN_LEARNED_S * self._scale, LEARNED_FACTOR * max(gaps))

    def _on_activity(self, activity: tuple[int, ...]) -> None:
        has_new_line = activity[:1] != self._activity[:1]
        if self._activity and has_new_line:
            gaps = self._gaps[self.phase]
            gaps.append(self._idle_s)
            self._gaps[self.phase] = sorted(gaps)[-LEARNED_AFTER:]
        self._activity, self._idle_s = activity, 0.0
        if has_new_line:
            last = read_last(self._run.progress) or {}
            self.phase = str(last.get("phase") or Phase.STARTING)

    def _read_activity(self) -> tuple[int, ...]:
        """Return numbers, at least one of which changes whenever the trainer does something."""
        progress_bytes = _size(self._run.progress)
        if self.phase in LINES_ONLY:
            return (progress_bytes, *self._activity[1:])
        return (progress_bytes, _size(self._run.training_log), _bytes_moved(self._pid))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _bytes_moved(pid: int) -> int:
    """Return how many bytes a process has read and written so far, 0 if the kernel does not report it."""
    try:
        fields = dict(line.split(": ") for line in (PROC / str(pid) / "io").read_text().splitlines())
        return int(fields["rchar"]) + int(fields["wchar"])
    except (OSError, ValueError, KeyError):
        return 0


def dump_stacks(trainer: Trainer, training_log: Path) -> None:
    """Append to the trainer's log where it hangs: its Python stacks if it handles SIGUSR1, and the states of its threads from /proc.

    A full disk is only logged: the trainer has to be ended in any case.
    """
    try:
        _request_stacks(trainer, training_log)
        text = "\n".join(["", f"== where process {trainer.pid} is stuck, from /proc ==", *_threads(trainer.pid), ""])
        with append_regular(training_log) as file:
            file.write(text.encode())
    except OSError as error:
        log.warning("the stacks of the stalled trainer could not be written: %s", error)


def _request_stacks(trainer: Trainer, training_log: Path) -> None:
    before = _size(training_log)
    if not _catches(trainer.pid, signal.SIGUSR1) or _state(PROC / str(trainer.pid)) in ("T", "t"):
        return
    trainer.send(signal.SIGUSR1)
    deadline = time.monotonic() + DUMP_TIMEOUT_S
    while time.monotonic() < deadline and _size(training_log) == before:
        time.sleep(0.05)
    time.sleep(0.2)  # the rest of the stacks


def _catches(pid: int, number: int) -> bool:
    """Return True if a process handles a signal, which would end it otherwise."""
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
        name, function = _first_line(task / "comm"), _first_line(task / "wchan")
        lines.append(f"thread {task.name} ({name}): state {_state(task)}, waits in {function or 'an unknown function'}")
    return lines


def _first_line(path: Path) -> str:
    try:
        return path.read_text(errors="replace").splitlines()[0]
    except (OSError, IndexError):
        return ""


class Restarts:
    """Counts the restarts of one run; the count starts over when the training gets further than before."""

    def __init__(self, run: RunPaths, reader: CheckpointReader) -> None:
        self._run, self._reader = run, reader
        self._furthest_step = -1
        self._without_progress = 0
        self.count = 0

    def allow(self, step: int) -> float | None:
        """Return the pause in seconds before a restart after a stall at a step, None if there were enough restarts."""
        self._without_progress = 0 if step > self._furthest_step else self._without_progress
        self._furthest_step = max(self._furthest_step, step)
        if self._without_progress >= len(PAUSES_S):
            return None
        self._without_progress += 1
        self.count += 1
        return PAUSES_S[self._without_progress - 1]

    def checkpoint(self) -> Checkpoint | None:
        """Return the complete checkpoint with the most steps whose checksums are right, None if there is none."""
        return newest_verified(self._run, self._reader)

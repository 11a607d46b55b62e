"""A cached index of the name, start and status of every run, for pages that poll.

The index is a cache over files: a run is read again if its ui_state.json has changed, and at every call while any of its processes may be
alive. If there are more than MAX_CHECKED_PER_POLL runs, each call checks a part of the older ones unless everything is requested.
"""

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Generic, TypeVar

from fluxgym.contract.codes import LIVE, ReasonCode, Status
from fluxgym.contract.files import MONITOR_PID, TRAINING_PID
from fluxgym.engines.registry import status_of
from fluxgym.errors import NotReadableNow, UnreadableState
from fluxgym.runs.paths import OutputsPaths, RunPaths, is_run_name
from fluxgym.runs.snapshot import RunSnapshot
from fluxgym.runs.state import State, read_state, shown_name, timestamp_of
from fluxgym.runs.status import SessionStatus
from fluxgym.runs.storage_errors import storage_error
from fluxgym.sessions.origin import Origin, origin_of
from fluxgym.sessions.run_dates import date_of

MAX_CHECKED_PER_POLL = 3000
SETTLED_S = 2.0  # the coarsest time stamp of a file system: two changes within it leave the folder's time unchanged
Signature = tuple[int, int, int]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Entry:
    """One run of the list under the name that it is shown with; started is the date that its row shows, changed that of ui_state.json."""

    slug: str
    name: str
    started: float
    status: Status
    may_be_running: bool
    reason_code: str = ""
    base_model: str = ""
    origin: Origin = Origin.TRAINED
    changed: float = 0.0
    lora_name: str = ""

    @property
    def needs_attention(self) -> bool:
        """Return True if the run failed, or was stopped by anything but the user."""
        is_interrupted = self.status is Status.STOPPED and self.reason_code not in ("", ReasonCode.USER)
        return self.origin is Origin.TRAINED and (self.status is Status.FAILED or is_interrupted)

    @property
    def end(self) -> str:
        """Return a key of the run's latest end; each end has another key."""
        return f"{self.status[0]}{self.changed:.0f}"


class SessionIndex:
    """The entries of one outputs folder, kept between calls. Thread-safe."""

    def __init__(self, outputs: Path) -> None:
        self._outputs = OutputsPaths(outputs)
        self._entries: dict[str, Entry] = {}
        self._signatures: dict[str, Signature] = {}
        self._names: list[str] = []
        self._read_names: list[str] = []
        self._root_mtime = -1
        self._root_since = self._root_read = 0.0
        self._turn = 0
        self._order: list[Entry] | None = None
        self._not_readable: NotReadableNow | None = None
        self._lock = threading.Lock()

    def entries(self, *, everything: bool = False) -> list[Entry]:
        """Return every run, newest first.

        The list is the same object until an entry changes (EntriesCache); callers do not change it.

        Raises:
            StorageError: If the folder itself, or any run, cannot be read now.
        """
        with self._lock:
            self._not_readable = None
            try:
                new = self._refresh_names(everything)
                for name in self._names_to_check(everything):
                    if name not in new:
                        self._check(name)
            except OSError as error:
                raise storage_error(error, self._outputs.root) from error
            if self._not_readable is not None:
                raise self._not_readable
            if self._order is None:
                self._order = sorted(self._entries.values(), key=lambda entry: (-entry.started, entry.slug))
            return self._order

    def _refresh_names(self, everything: bool) -> set[str]:
        """List the folders again unless nothing can have changed; returns the new ones, which are checked already."""
        now = monotonic()
        try:
            mtime = self._outputs.root.stat().st_mtime_ns
        except (FileNotFoundError, NotADirectoryError):
            self._root_mtime = -2
            names = []
        else:
            if self._is_settled(mtime, now) and not everything:
                return set()
            names = [entry.name for entry in os.scandir(self._outputs.root) if is_run_name(entry.name)]
        if names == self._read_names:
            self._root_read = now
            return set()
        self._read_names = names
        for removed in self._entries.keys() - set(names):
            self._forget(removed)
        new = [name for name in names if name not in self._entries]
        for name in new:
            self._check(name)
        started = {name: entry.started for name, entry in self._entries.items()}
        self._names = sorted(
            names, key=lambda name: -started.get(name, float("inf"))
        )  # a folder without a state may be a run that is being created
        self._root_read = now
        return set(new)

    def _is_settled(self, mtime: int, now: float) -> bool:
        """Return True if the folder's names were read more than SETTLED_S after it got this modification time, so that no change was
        missed.

        Only this process's clock is used, because the folder's times may come from a file server with another clock.
        """
        if mtime != self._root_mtime:
            self._root_mtime, self._root_since = mtime, now
        return self._root_read - self._root_since >= SETTLED_S

    def _names_to_check(self, everything: bool) -> list[str]:
        if everything or len(self._names) <= MAX_CHECKED_PER_POLL:
            return list(self._names)
        newest, rest = self._names[: MAX_CHECKED_PER_POLL // 2], self._names[MAX_CHECKED_PER_POLL // 2 :]
        start = self._turn = self._turn % len(rest)
        self._turn += MAX_CHECKED_PER_POLL // 2
        possibly_running = [entry.slug for entry in self._entries.values() if entry.may_be_running]
        return [*newest, *rest[start : start + MAX_CHECKED_PER_POLL // 2], *possibly_running]

    def _check(self, name: str) -> None:
        before = self._entries.get(name)
        try:
            file_status = os.lstat(f"{self._outputs.root}/{name}/ui_state.json")
        except PermissionError:
            signature = (0, 0, 0)  # its row in the list shows the error
        except OSError:
            self._forget(name)
            return
        else:
            signature = (file_status.st_mtime_ns, file_status.st_size, file_status.st_ino)
        if before is not None and not before.may_be_running and self._signatures.get(name) == signature:
            return
        try:
            entry = _entry(self._outputs.run(name), signature[0] / 1e9)
        except NotReadableNow as error:  # the others are read all the same, and this one the next time
            self._not_readable = error
            return
        self._signatures[name] = signature
        if entry != before:
            self._entries[name] = entry
            self._order = None

    def _forget(self, name: str) -> None:
        if self._entries.pop(name, None) is not None:
            self._order = None
        self._signatures.pop(name, None)


class EntriesCache(Generic[T]):
    """Caches a value that is computed from all entries.

    It is computed again when the index returns another list; the index returns the same list until an entry changes.
    """

    def __init__(self, compute: Callable[[list[Entry]], T]) -> None:
        self._compute = compute
        self._cached: tuple[list[Entry], T] | None = None

    def __call__(self, entries: list[Entry]) -> T:
        """Return the value of these entries."""
        cached = self._cached
        if cached is None or cached[0] is not entries:
            cached = self._cached = (entries, self._compute(entries))
        return cached[1]


def _entry(run: RunPaths, written_at: float) -> Entry:
    try:
        state = read_state(run)
    except UnreadableState:
        return Entry(run.slug, run.slug, written_at, Status.UNREADABLE, False, changed=written_at)
    may_be_running = _may_be_running(run, state)
    derived = status_of(run, state) if may_be_running else SessionStatus(Status(state["status"]), str(state.get("reason_code") or ""))
    origin = origin_of(run, state)
    return Entry(
        slug=run.slug,
        name=shown_name(run.slug, state),
        started=date_of(RunSnapshot(run, state), derived.status, origin, timestamp_of(state) or written_at).at,
        status=derived.status,
        may_be_running=may_be_running,
        reason_code=derived.reason_code,
        base_model=str(state.get("base_model") or ""),
        origin=origin,
        changed=written_at,
        lora_name=str(state.get("lora_name") or ""),
    )


def _may_be_running(run: RunPaths, state: State) -> bool:
    """Return True if the stored status is not enough: it is a live one, it is missing, or there is a PID file."""
    try:
        if Status(state["status"]) in LIVE:
            return True
    except (KeyError, ValueError, TypeError):
        return True
    return any(os.path.exists(f"{run.folder}/{name}") for name in (TRAINING_PID, MONITOR_PID))  # noqa: PTH110 (ten thousand calls)

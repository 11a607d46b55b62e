"""What a page that is open all day needs to know of every run at each look: name, start, state. Reads again only what has changed.

It is a cache over files and owns no truth: a run is read again when its ui_state.json is another file than before, and at each look while
anything of it might live. Beyond `SWEEP` runs the oldest ones are looked at in turns, unless everything is asked for.
"""

import os
import stat
import threading
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from fluxgym.contract.codes import LIVE, Status
from fluxgym.contract.files import MONITOR_PID, TRAINING_PID
from fluxgym.engines.registry import status_of
from fluxgym.errors import UnreadableState
from fluxgym.runs.files import storage_error
from fluxgym.runs.paths import OutputsPaths, RunPaths, is_run_name
from fluxgym.runs.state import State, read_state, timestamp_of

SWEEP = 3000
SETTLED_S = 2.0  # the coarsest tick of a disk's clock: two changes within one leave the folder's time as it is
Signature = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Entry:
    """One run in the list's order; started is in seconds since the epoch."""

    slug: str
    lora_name: str
    started: float
    status: Status
    may_be_running: bool


class SessionIndex:
    """The entries of one outputs folder, kept between looks. Safe to share between threads."""

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
        self._lock = threading.Lock()

    def look(self, *, everything: bool = False) -> list[Entry]:
        """Return every run, newest first; raises StorageError when the folder itself cannot be read."""
        with self._lock:
            try:
                fresh = self._refresh_names(everything)
                for name in self._to_look_at(everything):
                    if name not in fresh:
                        self._look_at(name)
            except OSError as error:
                raise storage_error(error, self._outputs.root) from error
            if self._order is None:
                self._order = sorted(self._entries.values(), key=lambda entry: (-entry.started, entry.slug))
            return self._order

    def _refresh_names(self, everything: bool) -> set[str]:
        """Learn which folders there are, unless nothing can have changed; returns those that were looked at for the first time."""
        began = monotonic()
        try:
            mtime = self._outputs.root.stat().st_mtime_ns
        except (FileNotFoundError, NotADirectoryError):
            self._root_mtime, names = -2, []
        else:
            if self._is_settled(mtime, began) and not everything:
                return set()
            names = [entry.name for entry in os.scandir(self._outputs.root) if is_run_name(entry.name)]
        if names == self._read_names:
            self._root_read = began
            return set()
        self._read_names = names
        for gone in self._entries.keys() - set(names):
            self._forget(gone)
        fresh = [name for name in names if name not in self._entries]
        for name in fresh:
            self._look_at(name)
        started = {name: entry.started for name, entry in self._entries.items()}
        self._names = sorted(names, key=lambda name: -started.get(name, float("inf")))  # those without a state may be just arriving
        self._root_read = began
        return set(fresh)

    def _is_settled(self, mtime: int, now: float) -> bool:
        """Return True if the names were last read long enough after the folder had this time, so that no change can hide behind it.

        Only this process's clock is asked, as the folder's time may be a file server's.
        """
        if mtime != self._root_mtime:
            self._root_mtime, self._root_since = mtime, now
        return self._root_read - self._root_since >= SETTLED_S

    def _to_look_at(self, everything: bool) -> list[str]:
        if everything or len(self._names) <= SWEEP:
            return list(self._names)
        newest, rest = self._names[: SWEEP // 2], self._names[SWEEP // 2 :]
        begin = self._turn = self._turn % len(rest)
        self._turn += SWEEP // 2
        possibly_running = [entry.slug for entry in self._entries.values() if entry.may_be_running]
        return [*newest, *rest[begin : begin + SWEEP // 2], *possibly_running]

    def _look_at(self, name: str) -> None:
        before = self._entries.get(name)
        try:
            status = os.stat(f"{self._outputs.root}/{name}/ui_state.json")  # noqa: PTH116 (ten thousand of them at each look)
        except PermissionError:
            signature = (0, 0, 0)  # nobody knows, so its row says why
        except OSError:
            self._forget(name)
            return
        else:
            if not stat.S_ISREG(status.st_mode):
                self._forget(name)
                return
            signature = (status.st_mtime_ns, status.st_size, status.st_ino)
        if before is not None and not before.may_be_running and self._signatures.get(name) == signature:
            return
        entry = _entry(self._outputs.run(name), signature[0] / 1e9)
        self._signatures[name] = signature
        if entry != before:
            self._entries[name] = entry
            self._order = None

    def _forget(self, name: str) -> None:
        if self._entries.pop(name, None) is not None:
            self._order = None
        self._signatures.pop(name, None)


def _entry(run: RunPaths, written_at: float) -> Entry:
    try:
        state = read_state(run)
    except UnreadableState:
        return Entry(run.slug, run.slug, written_at, Status.UNREADABLE, False)
    possibly_running = _might_live(run, state)
    status = status_of(run, state).status if possibly_running else Status(state["status"])
    return Entry(run.slug, str(state.get("lora_name") or run.slug), timestamp_of(state) or written_at, status, possibly_running)


def _might_live(run: RunPaths, state: State) -> bool:
    """Return True if more than the stored status has to be asked: it says that it lives, it says nothing, or a PID file is there."""
    try:
        if Status(state["status"]) in LIVE:
            return True
    except (KeyError, ValueError, TypeError):
        return True
    return any(os.path.exists(f"{run.folder}/{name}") for name in (TRAINING_PID, MONITOR_PID))  # noqa: PTH110 (10,000 at once)

"""The dispatcher as other processes see it: find it, start it, resume it, and read the problems that it reports."""

import hashlib
import logging
import os
import signal
import sys
import time
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from fluxgym.contract.lease import RENEW_S
from fluxgym.contract.regular_files import append_regular
from fluxgym.engines.spawn import START_TIMEOUT_S
from fluxgym.errors import LaunchError, StorageError
from fluxgym.runs.atomic_files import read_json, write_json
from fluxgym.runs.detached import start_detached
from fluxgym.runs.locks import file_lock, local_locks, try_lock
from fluxgym.runs.log_tail import tail
from fluxgym.runs.paths import OutputsPaths
from fluxgym.runs.process_identity import ProcessIdentity, identify, is_alive, is_frozen, lock_holder, signal_recorded
from fluxgym.runs.storage_errors import storage_error

START_POLL_S = 0.05
LIFE_S = 3 * RENEW_S
NAME = "dispatcher"
MODULE = "fluxgym.engines.dispatcher"  # not __name__, which is __main__ in the process itself
KEPT = "It keeps its position in the queue, but the process that starts waiting runs "
DISPATCHER_ENDED = KEPT + "has ended. Starting the app or any training starts it again."
DISPATCHER_FROZEN = KEPT + "(PID {pid}) is frozen. Starting the app or any training resumes it."
REPORTED = "It waits in the queue, and the process that starts it reports: {problem}"
UNSEEN = "A process that cannot be seen from here holds {lock}, so the process that starts waiting runs cannot be started. End it, or restart the machine."
BUSY = "Another process has been starting the one that starts waiting runs for too long; the machine may be overloaded."
log = logging.getLogger("fluxgym.dispatcher")


class DispatcherProcess:
    """The dispatcher of one outputs folder as other processes see it: by its lock, and its identity in the folder of this machine's locks."""

    def __init__(self, outputs: OutputsPaths) -> None:
        self._outputs = outputs

    @cached_property
    def lock(self) -> Path:
        """The file whose lock it holds."""
        key = hashlib.sha256(os.fsencode(self._outputs.root.resolve())).hexdigest()[:16]
        return local_locks() / f"{NAME}-{key}.lock"

    @property
    def _identity(self) -> Path:
        return self.lock.with_suffix(".json")

    def problem(self, slug: str = "") -> str:
        """Return why nothing starts waiting runs now, or only the run with this slug; "" if nothing is known."""
        process = self._holder()
        if process is None:
            return DISPATCHER_ENDED
        if is_frozen(process):
            return DISPATCHER_FROZEN.format(pid=process.pid)
        problem = _read_problems(self._identity).get(slug) if slug else None
        return REPORTED.format(problem=problem) if isinstance(problem, str) else ""

    def ensure(self) -> None:
        """Make sure that a dispatcher is alive and not frozen; return once it has recorded itself.

        A frozen one is resumed. One that has not recorded itself START_TIMEOUT_S after that is killed and replaced.

        Raises:
            LaunchError: If none can be started.
            FluxGymError, OSError: If a file or process cannot be created.
        """
        with file_lock(self.lock.with_suffix(".start"), timeout_s=START_TIMEOUT_S, busy=BUSY):
            deadline = time.monotonic() + START_TIMEOUT_S
            while (lock := try_lock(self.lock)) is None:
                holder = self._holder()
                if holder is not None and self._is_responsive(holder):
                    return
                self._resume_or_kill(holder, is_late=time.monotonic() > deadline)
                time.sleep(START_POLL_S)
            lock.close()
            self._start()

    def record(self, problems: Mapping[str, str] | None = None) -> None:
        """Record this process as the dispatcher, with why runs cannot be served, by slug: the disk of their folders may be full.

        Raises:
            StorageError: If that cannot be written.
        """
        own = identify(os.getpid(), "")
        process = None if own is None else own.to_json()
        write_json(self._identity, {"outputs": str(self._outputs.root), "process": process, "problems": dict(problems or {})})

    def show_life(self) -> None:
        """Record this process as the dispatcher as far as the disk permits; the modification time of its lock is the heartbeat."""
        try:
            os.utime(self.lock)
            self.record()
        except (StorageError, OSError) as error:
            log.warning("%s", error)

    def renew(self, problems: Mapping[str, str] | None = None) -> None:
        """Keep programs that clean temporary folders from removing the dispatcher's files; write a removed identity again.

        Raises:
            StorageError: If that cannot be written.
        """
        try:
            for path in (self.lock, self._identity):
                os.utime(path)
        except OSError:
            self.record(problems)

    def other_queues(self) -> bool:
        """Return True if runs of another outputs folder wait on this machine: its dispatcher is alive."""
        others = (path for path in local_locks().glob(f"{NAME}-*.json") if path != self._identity)
        return any(is_alive(_read_identity(path)) for path in others)

    def _holder(self) -> ProcessIdentity | None:
        """Return the dispatcher: as it recorded itself, else as the kernel lists it; None if there is none."""
        recorded = _read_identity(self._identity)
        return recorded if is_alive(recorded) else lock_holder(self.lock, MODULE)

    def _is_responsive(self, holder: ProcessIdentity) -> bool:
        """Return True if a dispatcher is not frozen, and has recorded itself or, where that cannot be written, renews its heartbeat."""
        if is_frozen(holder):
            return False
        recorded = _read_identity(self._identity)
        return (recorded is not None and recorded.pid == holder.pid) or _age_s(self.lock) < LIFE_S

    def _resume_or_kill(self, holder: ProcessIdentity | None, *, is_late: bool) -> None:
        """Resume a frozen dispatcher; kill one that is late.

        Raises:
            LaunchError: If it is late and not known.
        """
        if holder is None:
            if is_late:
                raise LaunchError(UNSEEN.format(lock=self.lock))
        elif is_late:
            log.warning("the process that starts waiting runs (PID %d) does not answer and is killed", holder.pid)
            signal_recorded(holder, signal.SIGKILL)
        elif is_frozen(holder):
            signal_recorded(holder, signal.SIGCONT)

    def _start(self) -> None:
        path = self._outputs.queue / f"{NAME}.log"
        try:
            output = append_regular(path)
        except OSError as error:
            raise storage_error(error, path) from error
        with output:
            log_size = output.seek(0, os.SEEK_END)
            process = start_detached([sys.executable, "-m", MODULE, str(self._outputs.root.resolve())], output)
        started, deadline = identify(process.pid, ""), time.monotonic() + START_TIMEOUT_S
        while (holder := self._holder()) is None or holder.pid != process.pid or not self._is_responsive(holder):
            if process.poll() == 0:  # there is no ticket any more
                return
            if process.poll() is not None or time.monotonic() > deadline:
                if started is not None:
                    signal_recorded(started, signal.SIGKILL)  # a frozen one would keep the lock
                last = " ".join(tail(path, 1, start=log_size)) or "it did not answer"
                raise LaunchError(f"The process that starts waiting runs could not be started: {last}")
            time.sleep(START_POLL_S)


def _read_identity(path: Path) -> ProcessIdentity | None:
    value = read_json(path)
    return ProcessIdentity.from_json(value.get("process")) if isinstance(value, dict) else None


def _age_s(path: Path) -> float:
    """Return how long ago a file was changed, in seconds."""
    try:
        return abs(time.time() - path.stat().st_mtime)
    except OSError:
        return float("inf")


def _read_problems(path: Path) -> Mapping[str, Any]:
    value = read_json(path)
    problems = value.get("problems") if isinstance(value, dict) else None
    return problems if isinstance(problems, dict) else {}

"""The dispatcher: the one process per outputs folder and host that starts waiting runs in their turn, so that they need none themselves.

`python -m fluxgym.engines.dispatcher OUTPUTS` lives while runs wait. Whoever adds a run to the queue, and each start of an app or of a run, makes
sure after that that a dispatcher is alive. Before it ends, it looks at the queue once more without its lock, so that no ticket is missed.

Devices are not handed over: the supervisor that it starts acquires them itself. Until then the run keeps its ticket, which reserves them.
"""

import hashlib
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from fluxgym.contract.codes import ReasonCode, Status
from fluxgym.contract.lease import RENEW_S
from fluxgym.contract.regular_files import append_regular
from fluxgym.engines.base import CANCELED_REASON, Mode
from fluxgym.engines.device_queue import Queue
from fluxgym.engines.devices import are_free
from fluxgym.engines.spawn import START_TIMEOUT_S, StartedSupervisor, start_supervisor
from fluxgym.engines.waiting_runs import Starter, WaitingReasons, WaitingRun, WaitingRuns, with_those_ahead
from fluxgym.errors import LaunchError, StorageError, describe_error
from fluxgym.runs.atomic_files import read_json, write_json
from fluxgym.runs.detached import start_detached
from fluxgym.runs.gpus import VISIBLE
from fluxgym.runs.launch_spec import LaunchSpec
from fluxgym.runs.locks import file_lock, is_open_file, local_locks, try_lock
from fluxgym.runs.log_tail import tail
from fluxgym.runs.paths import OutputsPaths, RunPaths
from fluxgym.runs.process_identity import ProcessIdentity, identify, is_alive, is_frozen, lock_holder, signal_recorded
from fluxgym.runs.state import update_state
from fluxgym.runs.storage_errors import storage_error

QUEUE_POLL_S = 1.0
START_POLL_S = 0.05
LIFE_S = 3 * RENEW_S
NAME = "dispatcher"
MODULE = "fluxgym.engines.dispatcher"  # not __name__, which is __main__ in the process itself
KEPT = "It keeps its position in the queue, but the process that starts waiting runs "
DISPATCHER_ENDED = KEPT + "has ended. Starting the app or any training starts it again."
DISPATCHER_FROZEN = KEPT + "(PID {pid}) is frozen. Starting the app or any training resumes it."
WAITS_FOR_APP = (
    "The FluxGym that serves this queue, of whatever version, user or HOME, did not put it there. Starting that one’s app, or any training with it, "
    "prepares it again from its settings."
)
NOT_STARTED = "It waited in the queue, and then its supervisor did not start: {error}"
SILENT = "It waited in the queue, and then its supervisor {state}, so it was ended. Start or resume the run again."
TRIED = "It is next, but its supervisor ended before it started the training ({error}). It is started again within {limit_s:.0f} seconds."
REPORTED = "It waits in the queue, and the process that starts it reports: {problem}"
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0  # between a supervisor that ended while its run waits, and the next one
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
        """Return why nothing starts waiting runs now, or only the run with this slug, as a sentence; "" if nothing is known."""
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
                if holder is not None and self._answers(holder):
                    return
                self._wake(holder, is_late=time.monotonic() > deadline)
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
        """Record this process as the dispatcher as far as the disk permits; the time of its lock shows that it is alive."""
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

    def _answers(self, holder: ProcessIdentity) -> bool:
        """Return True if a dispatcher is not frozen, and has recorded itself or, where that cannot be written, shows signs of life."""
        if is_frozen(holder):
            return False
        recorded = _read_identity(self._identity)
        return (recorded is not None and recorded.pid == holder.pid) or _age_s(self.lock) < LIFE_S

    def _wake(self, holder: ProcessIdentity | None, *, is_late: bool) -> None:
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
        while (holder := self._holder()) is None or holder.pid != process.pid or not self._answers(holder):
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


@dataclass(frozen=True)
class Pause:
    """The time until a supervisor is started again for a run that waits although one was started and its devices are free.

    error is what that one wrote last.
    """

    seconds: float
    until: float
    error: str

    @classmethod
    def after(cls, before: "Pause | None", error: str) -> "Pause":
        """Return the next pause, twice as long as the one before."""
        seconds = FIRST_PAUSE_S if before is None else min(2 * before.seconds, LONGEST_PAUSE_S)
        return cls(seconds, time.monotonic() + seconds, error)


class Dispatcher:
    """What the dispatcher does while it holds its lock. Files and processes are the only state that has to survive it."""

    def __init__(self, outputs: OutputsPaths, process: DispatcherProcess) -> None:
        self._process, self._waiting = process, WaitingRuns(outputs)
        self._renewed_at = -RENEW_S
        self._starts: dict[tuple[str, str], StartedSupervisor] = {}  # of runs that have a ticket
        self._pauses: dict[tuple[str, str], Pause] = {}
        self._warnings: dict[str, str] = {}
        self._published: dict[str, str] = {}

    def work(self, has_lock: Callable[[], bool]) -> None:
        """Start waiting runs in their turn until no run has a ticket or the lock is lost."""
        while has_lock():
            try:
                if not self.serve_all():
                    return
            except Exception as error:  # no error may end it while runs wait; the next time  # noqa: BLE001
                self._warn("the queue", describe_error(error))
            time.sleep(QUEUE_POLL_S)

    def serve_all(self) -> bool:
        """Do for each waiting run what is to be done now; returns False if no run has a ticket."""
        runs = self._waiting.all()
        keys = {_key(waiting) for waiting in runs}
        self._starts = {key: start for key, start in self._starts.items() if key in keys}
        self._pauses = {key: pause for key, pause in self._pauses.items() if key in keys}
        reasons = WaitingReasons(others_wait=self._process.other_queues())
        for waiting, ahead in with_those_ahead(runs):
            try:
                self._serve(waiting, ahead, reasons)
                self._warnings.pop(waiting.run.slug, None)
            except Exception as error:  # of a full disk, or of one run's files; the others are served all the same  # noqa: BLE001
                self._warn(waiting.run.slug, describe_error(error))
        self._show_life(runs)
        return bool(runs)

    def _show_life(self, runs: Sequence[WaitingRun]) -> None:
        """Publish changed problems, and renew what says that this process is alive."""
        try:
            if self._published != self._warnings:
                self._published = dict(self._warnings)
                self._process.record(self._published)
            if time.monotonic() - self._renewed_at >= RENEW_S:
                self._renewed_at = time.monotonic()
                _renew_leases(runs)
                self._process.renew(self._published)
        except StorageError as error:  # runs are started all the same, and the kernel shows who holds the lock
            self._warn("the process itself", str(error))

    def _serve(self, waiting: WaitingRun, ahead: Sequence[WaitingRun], reasons: WaitingReasons) -> None:
        if waiting.starter in (Starter.OWN_SUPERVISOR, Starter.OTHER_HOST, Starter.UNKNOWN) or self._waiting.drop(waiting):
            return
        if waiting.stop_requested:
            self._waiting.end(waiting, Status.STOPPED, ReasonCode.USER, CANCELED_REASON)
        elif waiting.starter is Starter.APP or waiting.spec is None:
            _describe(waiting, WAITS_FOR_APP)
        elif not self._is_starting(waiting):
            self._try_to_start(waiting, waiting.spec, ahead, reasons)

    def _is_starting(self, waiting: WaitingRun) -> bool:
        """Return True while a supervisor starts that has not recorded itself; one that failed ends the run's wait."""
        start = self._starts.get(_key(waiting))
        if start is None:
            return False
        if start.process.poll() is None and not start.is_late:
            return True
        del self._starts[_key(waiting)]
        self._pauses[_key(waiting)] = Pause.after(self._pauses.get(_key(waiting)), start.error())
        if start.process.returncode is None:
            self._waiting.end(waiting, Status.FAILED, ReasonCode.LAUNCH, SILENT.format(state=start.kill()))
        elif start.process.returncode != 0 and not _has_supervisor(waiting.run):
            self._waiting.end(waiting, Status.FAILED, ReasonCode.LAUNCH, NOT_STARTED.format(error=start.error()))
        return start.process.returncode != 0  # 0: another outputs folder's run got the device, or it could not record its end

    def _try_to_start(self, waiting: WaitingRun, spec: LaunchSpec, ahead: Sequence[WaitingRun], reasons: WaitingReasons) -> None:
        reserved = frozenset[str]().union(*(other.devices for other in ahead))
        pause = self._pauses.get(_key(waiting))
        if not are_free(spec.devices, reserved_by_earlier=reserved):
            self._pauses.pop(_key(waiting), None)
            _describe(waiting, reasons.reason(waiting.run, spec.devices, ahead))
        elif pause is not None and time.monotonic() < pause.until:
            _describe(waiting, TRIED.format(error=pause.error, limit_s=LONGEST_PAUSE_S))
        else:
            log.info("%s is next: its supervisor is started", waiting.run.slug)
            # The devices that this process was started with are another run's.
            environment = {name: value for name, value in os.environ.items() if name != VISIBLE}
            self._starts[_key(waiting)] = start_supervisor(waiting.run, Mode.TRAIN, environment=environment)

    def _warn(self, what: str, message: str) -> None:
        """Log a message about a run once until it changes."""
        if self._warnings.get(what) != message:
            self._warnings[what] = message
            log.warning("%s: %s", what, message)


def _has_supervisor(run: RunPaths) -> bool:
    lock = try_lock(run.supervisor_lock)
    if lock is not None:
        lock.close()
    return lock is None


def _renew_leases(runs: Sequence[WaitingRun]) -> None:
    """Show a sign of life in the folders of this host's waiting runs, so that no other host starts them."""
    for waiting in runs:
        if waiting.starter in (Starter.DISPATCHER, Starter.APP) and not waiting.other_host:
            with suppress(OSError):
                os.utime(waiting.run.lease, follow_symlinks=False)


def _key(waiting: WaitingRun) -> tuple[str, str]:
    return waiting.run.slug, waiting.ticket.run_id


def _describe(waiting: WaitingRun, reason: str) -> None:
    """Store what a run waits for, unless it was started or ended meanwhile.

    Raises:
        StorageError: If that cannot be written.
    """
    if (waiting.status, waiting.reason) != (Status.QUEUED, reason):
        expected = {"run_id": waiting.ticket.run_id, "status": waiting.status}
        update_state(waiting.run, {"status": Status.QUEUED, "reason": reason}, expected=expected)


def main(argv: list[str]) -> int:
    """Serve the queue of an outputs folder until it is empty, unless another dispatcher does; returns the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    outputs = OutputsPaths(Path(argv[0]).resolve())
    process, queue = DispatcherProcess(outputs), Queue(outputs)
    while queue.tickets():  # also after the lock was released: a ticket may have been written meanwhile
        lock = try_lock(process.lock)
        if lock is None:
            return 0
        with lock:
            process.show_life()
            Dispatcher(outputs, process).work(partial(is_open_file, lock.fileno(), process.lock))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

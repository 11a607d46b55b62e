"""The dispatcher: the one process per outputs folder and host that starts waiting runs in queue order, so that waiting runs need no process of their own.

`python -m fluxgym.engines.dispatcher OUTPUTS` lives while runs wait. Every process that adds a run to the queue, and each start of an app or of a run, makes
sure after that that a dispatcher is alive. Before it ends, it reads the queue once more without its lock, so that no ticket is missed.

Devices are not handed over: the supervisor that it starts acquires them itself. Until then the run keeps its ticket, which reserves them.
"""

import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from fluxgym.contract.codes import ReasonCode, Status
from fluxgym.contract.lease import RENEW_S
from fluxgym.engines.base import CANCELED_REASON, Mode
from fluxgym.engines.devices import are_free
from fluxgym.engines.dispatcher_process import DispatcherProcess
from fluxgym.engines.spawn import StartedSupervisor, start_supervisor
from fluxgym.engines.tickets import Tickets
from fluxgym.engines.waiting_reasons import WAITS_FOR_APP, WaitingReasons
from fluxgym.engines.waiting_runs import Starter, WaitingRun, WaitingRuns, with_those_ahead
from fluxgym.errors import StorageError, describe_error
from fluxgym.runs.gpus import VISIBLE
from fluxgym.runs.launch_spec import LaunchSpec
from fluxgym.runs.locks import is_open_file, try_lock
from fluxgym.runs.paths import OutputsPaths, RunPaths
from fluxgym.runs.state import update_state

QUEUE_POLL_S = 1.0
NOT_STARTED = "It waited in the queue, and then its supervisor did not start: {error}"
SILENT = "It waited in the queue, and then its supervisor {state}, so it was ended. Start or resume the run again."
TRIED = "It is next, but its supervisor ended before it started the training ({error}). It is started again within {limit_s:.0f} seconds."
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0  # between a supervisor that ended while its run waits, and the next one
log = logging.getLogger("fluxgym.dispatcher")


@dataclass(frozen=True)
class Pause:
    """The time until a supervisor is started again for a run that waits although one was started and its devices are free.

    error is the last line of that supervisor's log.
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
        """Start waiting runs in queue order until no run has a ticket or the lock is lost."""
        while has_lock():
            try:
                if not self.serve_all():
                    return
            except Exception as error:  # no error may end it while runs wait; the next time  # noqa: BLE001
                self._warn("the queue", describe_error(error))
            time.sleep(QUEUE_POLL_S)

    def serve_all(self) -> bool:
        """Process each waiting run once; return False if no run has a ticket."""
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
        """Publish changed problems and renew the heartbeat of this process."""
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
    """Renew the leases in the folders of this host's waiting runs (heartbeat), so that no other host starts them."""
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
    process, tickets = DispatcherProcess(outputs), Tickets(outputs)
    while tickets.all():  # also after the lock was released: a ticket may have been written meanwhile
        lock = try_lock(process.lock)
        if lock is None:
            return 0
        with lock:
            process.show_life()
            Dispatcher(outputs, process).work(partial(is_open_file, lock.fileno(), process.lock))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""One supervised run: acquire its devices, start its trainer, watch it, restart it after a stall, and record how it ended.

The supervisor has its own session, so it outlives the app, the terminal and the connection. One is alive beside every run that executes, so it
imports nothing heavy. If the devices are in use, it leaves its run in the queue and ends.
"""

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

from fluxgym.contract.codes import ReasonCode, Status
from fluxgym.contract.volumes import DISK_FULL_ERRORS
from fluxgym.engines.base import CANCELED_REASON, HeldDevices
from fluxgym.engines.registry import engine_of
from fluxgym.errors import FluxGymError, NotReadableNow, StorageError
from fluxgym.runs.atomic_files import remove_file, write_text
from fluxgym.runs.launch_spec import LaunchSpec, StopRequest, holds_start, read_stop_request, write_launch_spec
from fluxgym.runs.paths import RunPaths
from fluxgym.runs.process_identity import ProcessIdentity, identify, is_alive, read_record
from fluxgym.runs.progress import is_done
from fluxgym.runs.storage_errors import reason_code_of
from fluxgym.supervisor.attempt import Attempt, record_processes
from fluxgym.supervisor.earlier_files import note_earlier_files
from fluxgym.supervisor.fence import start_fence
from fluxgym.supervisor.finalize import finalize, last_line, record_outcome, try_update_state
from fluxgym.supervisor.lease_keeper import LeaseKeeper
from fluxgym.supervisor.outcome import Outcome, failed_outcome
from fluxgym.supervisor.process_tree import kill_group
from fluxgym.supervisor.stall import Restarts, Stall
from fluxgym.supervisor.trainer_process import POLL_S, AdoptedTrainer, Trainer, start_trainer
from fluxgym.trainers.base import backend_named, with_command

CANCELED = Outcome(status=Status.STOPPED, reason_code=ReasonCode.USER, reason=CANCELED_REASON)
OWN_ERROR = (
    "The process that watches it failed with an error, which is in monitor.log; resume the run if it has a checkpoint, otherwise retry."
)
log = logging.getLogger("fluxgym.supervisor")


class Supervisor:
    """One run from its turn to its end; it has more than one attempt if its trainer stalls.

    It holds the lease on the folder. When another start has taken that, nothing is written there any more.
    """

    def __init__(self, run: RunPaths, spec: LaunchSpec, lease: LeaseKeeper) -> None:
        self.run = run
        self.spec = spec
        self.lease = lease
        self.first_attempt = spec.attempt
        self.attempt: Attempt | None = None
        self.restarts = Restarts(run, backend_named(spec.backend))

    def guard(self, work: Callable[[], None]) -> None:
        """Do the work. After an error of this program, still wait for the trainer, handle stop requests and record the outcome."""
        try:
            work()
        except Exception:  # no bug in the supervisor may leave a trainer unwatched
            log.exception("internal error; from here on only stop requests are handled")
            self._wait_and_record()

    def supervise(self) -> None:
        """Acquire the devices, run the trainer as often as necessary, and record the outcome; or leave the run in the queue."""
        log.info("attempt %d of run %s starts", self.spec.attempt, self.spec.run_id)
        try:
            devices = self._acquire_devices()
        except FluxGymError as error:
            code = reason_code_of(error) if isinstance(error, StorageError) else ReasonCode.LAUNCH
            self._record_failure(code, f"It could not wait for its devices: {error}")
            return
        if devices is None:
            self._end_without_devices()
            return
        try:
            while self._run_attempt(devices):
                pass
        finally:
            devices.release()

    def stop_abandoned_trainer(self) -> None:
        """Stop a trainer whose own supervisor has died."""
        before = read_record(self.run)
        if before is None or before.trainer is None or not is_alive(before.trainer):
            return
        self.attempt = self._new_attempt(AdoptedTrainer(before.trainer), before.started_at)
        self._try_record_processes(before.trainer)
        log.info("adopted the trainer, PID %d, to stop it", before.trainer.pid)
        self.attempt.watch()
        self._finalize(self.attempt)

    def verify(self) -> None:
        """Verify what a trainer left that finished while nothing watched it."""
        before = read_record(self.run)
        self.attempt = self._new_attempt(None, before.started_at if before is not None else time.time())
        self._try_record_processes(None)
        try_update_state(self.run, {"status": Status.RUNNING, "reason": None, "reason_code": None})
        self._finalize(self.attempt)

    def _finalize(self, attempt: Attempt) -> None:
        """Verify and record what an attempt left, unless the folder belongs to another start by now."""
        if attempt.is_fenced or self.lease.is_lost():
            log.error("another start has taken over this folder; nothing is recorded")
            return
        finalize(attempt, restarts=self.restarts.count)

    def _acquire_devices(self) -> HeldDevices | None:
        """Return the run's devices, None if it was canceled or has to wait for them."""
        return engine_of(self.run).queue.acquire(
            self.run, self.spec, is_canceled=lambda: self._stop_request() is not None or not self._is_there(), waiting=self._record_waiting
        )

    def _end_without_devices(self) -> None:
        """Record that the run was canceled, unless it waits in the queue, where the dispatcher starts it in its turn, or its folder is gone."""
        if self._has_vanished():
            return
        if self._stop_request() is not None:
            record_outcome(self.run, self.spec, CANCELED)
        else:
            log.info("it waits in the queue without a process")
            remove_file(self.run.monitor_pid)

    def _is_there(self) -> bool:
        return holds_start(self.run, self.spec.run_id) and self.lease.keep()

    def _has_vanished(self) -> bool:
        """Return True, and log it, if the folder was removed, moved away, replaced or taken over; nothing may be started or written in it."""
        if self._is_there():
            return False
        log.warning("%s was removed, moved, replaced or taken over; nothing is started", self.run.folder)
        return True

    def _record_waiting(self, reason: str) -> None:
        log.info("queued: %s", reason)
        if self._is_there():  # to lock the state would create the folder again
            try_update_state(self.run, {"status": Status.QUEUED, "reason": reason})

    def _run_attempt(self, devices: HeldDevices) -> bool:
        """Run the trainer once; returns True if it stalled and has to be started again."""
        started_at = time.time()
        self.attempt = None
        if self._has_vanished():
            return False
        try:
            note_earlier_files(self.run, self.spec, backend_named(self.spec.backend))
            child = start_trainer(self.run, self.spec, devices, holder=self.lease.holder)
        except OSError as error:
            code = ReasonCode.DISK_FULL if error.errno in DISK_FULL_ERRORS else ReasonCode.LAUNCH
            where = f"{error.filename}: " if error.filename else ""
            self._record_failure(code, f"The trainer could not be started: {where}{error.strerror or error}.")
            return False
        attempt = self.attempt = self._new_attempt(child, started_at, devices)
        log.info("trainer started, PID %d", child.pid)
        if not self._record_trainer(attempt, child):
            return False
        if not backend_named(self.spec.backend).checks_lease:
            start_fence(self.run, self.spec.run_id, child.pid, self.lease.holder)
        attempt.watch()
        if attempt.stall is not None and self._prepare_restart(attempt, attempt.stall):
            return True
        self._finalize(attempt)
        return False

    def _record_trainer(self, attempt: Attempt, trainer: Trainer) -> bool:
        """Record a started trainer; one that cannot be recorded could not be found again, so it is killed and False is returned."""
        try:
            write_text(
                self.run.training_pid, f"{trainer.pid}\n"
            )  # before the record: a recorded trainer without it counts as removed by hand
            record_processes(self.run, self.spec, identify(trainer.pid, self.spec.run_id), started_at=attempt.started_at)
        except StorageError as error:
            log.error("%s", error)
            kill_group(trainer)
            attempt.wait()
            self._record_failure(reason_code_of(error), f"It was ended at once: {error}")
            return False
        own = identify(os.getpid(), self.spec.run_id)
        try_update_state(self.run, {"status": Status.RUNNING, "reason": None, "host": own.host if own else None})
        return True

    def _prepare_restart(self, attempt: Attempt, stall: Stall) -> bool:
        """Prepare the next attempt after a pause; returns False if a restart is useless or a stop is requested meanwhile."""
        last = last_line(self.run, self.spec)
        if attempt.is_fenced or attempt.stop_requested or attempt.code == 0 or is_done(last) or self._has_vanished():
            return False
        pause_s = self.restarts.allow(last.get("step") or 0)
        if pause_s is None:
            return False
        checkpoint = self.restarts.checkpoint()
        log.info("restart %d: from %s, in %.0f s", self.restarts.count, checkpoint.name if checkpoint else "the beginning", pause_s)
        self._try_record_processes(None)
        self.run.training_pid.unlink(missing_ok=True)
        reason = f"It stalled while {stall.phase} and is being started again (restart {self.restarts.count})."
        try_update_state(self.run, {"status": Status.STARTING, "reason": reason})
        if self._is_stopped_within(pause_s * self.spec.stall_scale):
            attempt.stop_requested = True
            return False
        if self._has_vanished():
            return False
        return self._write_next_attempt(checkpoint.folder if checkpoint else None)

    def _is_stopped_within(self, pause_s: float) -> bool:
        deadline = time.monotonic() + pause_s
        while time.monotonic() < deadline:
            if self._stop_request() is not None:
                return True
            time.sleep(POLL_S)
        return False

    def _write_next_attempt(self, checkpoint: Path | None) -> bool:
        """Write the next attempt's launch.json; False if the disk is full, since nothing could distinguish the next trainer from the last one."""
        spec = with_command(self.spec.next_attempt(checkpoint), self.run)
        try:
            write_launch_spec(self.run, spec, keep_stop=True)
        except StorageError as error:
            log.error("not started again: %s", error)
            return False
        self.spec = spec
        self._try_record_processes(None)
        return True

    def _new_attempt(self, trainer: Trainer | None, started_at: float, devices: HeldDevices | None = None) -> Attempt:
        first = self.first_attempt
        return Attempt(self.run, self.spec, trainer, lease=self.lease, started_at=started_at, first_attempt=first, devices=devices)

    def _try_record_processes(self, trainer: ProcessIdentity | None) -> None:
        """Record the processes and only log a failure: a full disk does not justify abandoning a trainer that is recorded already."""
        try:
            record_processes(self.run, self.spec, trainer, started_at=self.attempt.started_at if self.attempt else time.time())
        except StorageError as error:
            log.error("%s", error)

    def _stop_request(self) -> StopRequest | None:
        """Return the request to stop this run, None if there is none, or if it cannot be read now: it is polled."""
        try:
            return read_stop_request(self.run, self.spec.run_id, self.first_attempt)
        except NotReadableNow:
            return None

    def _record_failure(self, code: ReasonCode, reason: str) -> None:
        if self.lease.is_lost():
            return
        exit_code = self.attempt.exit_code if self.attempt else None
        outcome = failed_outcome(code, reason, exit_code=exit_code, last_step=last_line(self.run, self.spec).get("step"))
        record_outcome(self.run, self.spec, outcome, attempt=self.attempt)

    def _wait_and_record(self) -> None:
        """Wait for the trainer, if there is one, and record how it ended; record an internal error if it cannot be classified."""
        if self.attempt is None:
            self._record_failure(ReasonCode.SUPERVISOR, OWN_ERROR)
            return
        self.attempt.wait()
        try:
            self._finalize(self.attempt)
        except Exception:  # the same bug may be met again
            log.exception("the end of the run could not be classified")
            self._record_failure(ReasonCode.SUPERVISOR, OWN_ERROR)

"""The process that starts a trainer, watches it, stops it when asked, and says how it ended: `python -m fluxgym.supervisor.supervisor FOLDER`.

It has its own session, so the page, the terminal and the connection may go. It loads nothing heavy: one lives beside every run.
It waits for its devices first; a trainer that stalls is ended and goes on from its newest complete checkpoint.
"""

import logging
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from fluxgym.contract.codes import Status
from fluxgym.engines.base import Lease
from fluxgym.engines.registry import engine_of
from fluxgym.errors import FluxGymError, StorageError
from fluxgym.runs.files import reason_code_of, write_text
from fluxgym.runs.launch_spec import LaunchSpec, StopRequest, read_stop_request, write_launch_spec
from fluxgym.runs.paths import RunPaths
from fluxgym.runs.process_identity import ProcessIdentity, identify, is_alive, read_record
from fluxgym.runs.progress import is_done
from fluxgym.runs.status import SessionStatus
from fluxgym.supervisor.attempt import Attempt, record
from fluxgym.supervisor.finalize import close, last_line, say, write_outcome
from fluxgym.supervisor.stall import Restarts, Stall
from fluxgym.supervisor.trainer_process import POLL_S, AdoptedTrainer, Trainer, signal_group, start_trainer
from fluxgym.trainers.base import backend_named, with_command

CANCELLED = SessionStatus(Status.STOPPED, "user", "Cancelled by you before it began.")
OWN_ERROR = "The process that watched it met an error of its own, which monitor.log tells; resume it if it left a checkpoint."
log = logging.getLogger("fluxgym.supervisor")


class Supervisor:
    """One run, from its place in the queue to its end; more than one attempt when its trainer stalls."""

    def __init__(self, run: RunPaths, order: LaunchSpec) -> None:
        self.run, self.order, self.first_attempt = run, order, order.attempt
        self.attempt: Attempt | None = None
        self.restarts = Restarts(run, backend_named(order.backend))

    def guard(self, work: Callable[[], None]) -> None:
        """Do the work; should this program itself fail, the trainer is still waited for, Stop still heeded and the end written down."""
        try:
            work()
        except Exception:  # a mistake of ours, whatever it is, must not leave a trainer alone
            log.exception("an error of the supervisor's own; from here on it only waits and heeds Stop")
            self._wait_and_record()

    def supervise(self) -> None:
        """Wait for the devices, then start the trainer as often as is needed, and record how it ended."""
        log.info("attempt %d of run %s begins", self.order.attempt, self.order.run_id)
        try:
            held = self._acquire_devices()
        except FluxGymError as error:
            self._fail("launch", f"It could not wait for its turn: {error}")
            return
        if held is None:
            write_outcome(self.run, self.order, CANCELLED)
            return
        try:
            while self._attempt(held):
                pass
        finally:
            held.release()

    def stop_abandoned_trainer(self) -> None:
        """Stop a trainer whose own supervisor has died."""
        before = read_record(self.run)
        if before is None or before.trainer is None or not is_alive(before.trainer):
            return
        self.attempt = self._begin(AdoptedTrainer(before.trainer), before.started_at)
        self._note(before.trainer)
        log.info("took over the trainer, PID %d, to stop it", before.trainer.pid)
        self.attempt.watch()
        close(self.attempt, restarts=0)

    def verify(self) -> None:
        """Judge what a trainer left that finished while nobody watched."""
        before = read_record(self.run)
        self.attempt = self._begin(None, before.started_at if before is not None else time.time())
        self._note(None)
        say(self.run, {"status": Status.RUNNING, "reason": None, "reason_code": None})
        close(self.attempt, restarts=0)

    # -- the steps ---------------------------------------------------------------------------------------------------------------

    def _acquire_devices(self) -> Lease | None:
        """Wait for the run's devices, None if it was cancelled before."""
        return engine_of(self.run).acquire(self.run, self.order, is_cancelled=lambda: self._wish() is not None, waiting=self._on_waiting)

    def _on_waiting(self, reason: str) -> None:
        log.info("queued: %s", reason)
        say(self.run, {"status": Status.QUEUED, "reason": reason})

    def _attempt(self, held: Lease) -> bool:
        """Run the trainer once; True when it stalled and is to be started again."""
        started_at, self.attempt = time.time(), None
        try:
            child = start_trainer(self.run, self.order, held)
        except OSError as error:
            self._fail("launch", f"The trainer could not be started: {error}.")
            return False
        attempt = self.attempt = self._begin(child, started_at)
        log.info("trainer started, PID %d", child.pid)
        me = identify(os.getpid(), self.order.run_id)
        try:
            write_text(self.run.training_pid, f"{child.pid}\n")  # before the record: a recorded trainer without it is a removed one
            record(self.run, self.order, identify(child.pid, self.order.run_id), started_at=started_at)
        except StorageError as error:  # a trainer that nobody could find again must not go on
            log.error("%s", error)
            signal_group(child.pid, signal.SIGKILL)
            attempt.wait()
            self._fail(reason_code_of(error), f"It was ended at once: {error}")
            return False
        say(self.run, {"status": Status.RUNNING, "reason": None, "host": me.host if me else None})
        attempt.watch()
        if attempt.stall is not None and self._may_restart(attempt, attempt.stall):
            return True
        close(attempt, restarts=self.restarts.count)
        return False

    def _may_restart(self, attempt: Attempt, stall: Stall) -> bool:
        """Prepare the next attempt after a pause; False when there is no use in one, or the user stops it meanwhile."""
        last = last_line(self.run, self.order)
        if attempt.stop_requested or attempt.code == 0 or is_done(last):
            return False
        pause_s = self.restarts.allow(last.get("step") or 0)
        if pause_s is None:
            return False
        checkpoint = self.restarts.checkpoint()
        log.info("restart %d: from %s, in %.0f s", self.restarts.count, checkpoint.name if checkpoint else "the beginning", pause_s)
        self._note(None)
        self.run.training_pid.unlink(missing_ok=True)
        reason = f"It stalled while {stall.phase} and is being started again (restart {self.restarts.count})."
        say(self.run, {"status": Status.STARTING, "reason": reason})
        if self._stopped_within(pause_s * self.order.stall_scale):
            attempt.stop_requested = True
            return False
        return self._order_again(checkpoint.folder if checkpoint else None)

    def _stopped_within(self, pause_s: float) -> bool:
        deadline = time.monotonic() + pause_s
        while time.monotonic() < deadline:
            if self._wish() is not None:
                return True
            time.sleep(POLL_S)
        return False

    def _order_again(self, checkpoint: Path | None) -> bool:
        """Write the next attempt's order; False when the disk refuses, for a trainer that nobody could tell from the last must not begin."""
        again = with_command(self.order.next_attempt(checkpoint), self.run)
        try:
            write_launch_spec(self.run, again, keep_stop=True)
        except StorageError as error:
            log.error("not started again: %s", error)
            return False
        self.order = again
        self._note(None)
        return True

    # -- what is known -----------------------------------------------------------------------------------------------------------

    def _begin(self, trainer: Trainer | None, started_at: float) -> Attempt:
        return Attempt(self.run, self.order, trainer, started_at=started_at, first_attempt=self.first_attempt)

    def _note(self, trainer: ProcessIdentity | None) -> None:
        """Record the present processes if that can be done: where the trainer is known already, a full disk is no reason to let go of it."""
        try:
            record(self.run, self.order, trainer, started_at=self.attempt.started_at if self.attempt else time.time())
        except StorageError as error:
            log.error("%s", error)

    def _wish(self) -> StopRequest | None:
        return read_stop_request(self.run, self.order.run_id, self.first_attempt)

    def _fail(self, code: str, reason: str) -> None:
        write_outcome(self.run, self.order, SessionStatus(Status.FAILED, code, reason), attempt=self.attempt)

    def _wait_and_record(self) -> None:
        """Wait for the trainer, if there is one, and write down how it ended, in the plainest words if need be."""
        if self.attempt is None:
            self._fail("supervisor", OWN_ERROR)
            return
        self.attempt.wait()
        try:
            close(self.attempt, restarts=self.restarts.count)
        except Exception:  # the same mistake once more, it may be
            log.exception("its end could not be judged")
            self._fail("supervisor", OWN_ERROR)

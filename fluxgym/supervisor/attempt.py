"""One attempt of a run: its trainer, watched until none of its processes is alive; stopped on request and ended when it stalls."""

import logging
import os
import time

from fluxgym.contract.codes import EXIT_FENCED
from fluxgym.contract.lease import RENEW_S
from fluxgym.engines.base import HeldDevices
from fluxgym.errors import NotReadableNow, StorageError
from fluxgym.runs.atomic_files import write_text
from fluxgym.runs.launch_spec import LaunchSpec, StopRequest, read_stop_request
from fluxgym.runs.paths import RunPaths
from fluxgym.runs.process_identity import ProcessIdentity, ProcessRecord, identify, write_record
from fluxgym.supervisor.lease_keeper import LeaseKeeper
from fluxgym.supervisor.process_tree import kill_group, request_termination, terminate_process_tree
from fluxgym.supervisor.stall import Stall, StallWatch, dump_stacks
from fluxgym.supervisor.trainer_process import (
    POLL_S,
    UNKNOWN_CODE,
    Trainer,
    kernel_oom_kills,
)
from fluxgym.trainers.base import backend_named

STALL_GRACE_S = 10.0
log = logging.getLogger("fluxgym.supervisor")


class Attempt:
    """The state of one attempt while it runs.

    trainer is None if only the attempt's files are checked. lease is the lease on the folder, devices are those that the trainer uses.
    A request to stop first_attempt also counts for this attempt if it is an automatic restart of that one.
    """

    def __init__(
        self,
        run: RunPaths,
        spec: LaunchSpec,
        trainer: Trainer | None,
        *,
        lease: LeaseKeeper,
        started_at: float,
        first_attempt: int,
        devices: HeldDevices | None = None,
    ) -> None:
        self.run = run
        self.spec = spec
        self.trainer = trainer
        self.started_at = started_at
        self.lease = lease
        self.is_fenced = False
        self._devices = devices
        self._renewed_at = time.monotonic()
        self.code = UNKNOWN_CODE
        self.stop_requested = self.was_killed = self.stop_immediately = False
        self.stall: Stall | None = None
        self.oom_kills = kernel_oom_kills()
        self._first_attempt = first_attempt
        self._stop_seen_at = 0.0
        self._handled_request: StopRequest | None = None

    @property
    def pid(self) -> int | None:
        """The trainer's PID."""
        return self.trainer.pid if self.trainer else None

    @property
    def exit_code(self) -> int | None:
        """The trainer's exit code, negative for a signal; None if it is unknown."""
        return None if self.code == UNKNOWN_CODE else self.code

    def stop_request(self) -> StopRequest | None:
        """Return the request to stop this attempt, None if there is none, or if it cannot be read now: it is polled."""
        try:
            return read_stop_request(self.run, self.spec.run_id, self._first_attempt)
        except NotReadableNow:
            return None

    def has_new_stop_request(self) -> bool:
        """Return True if a stop was requested after the trainer ended."""
        return (request := self.stop_request()) is not None and request != self._handled_request

    def watch(self) -> None:
        """Wait for the trainer's end; meanwhile handle stop requests, detect stalls if monitoring is on, and follow the progress."""
        if self.trainer is None:
            return
        stalls = StallWatch(self.run, self.trainer.pid, scale=self.spec.stall_scale) if self.spec.monitoring else None
        follower = backend_named(self.spec.backend).follow_progress(self.run, self.spec)
        while self.trainer.poll() is None:
            self._keep_lease(self.trainer)
            self._handle_stop(self.trainer)
            if follower is not None and not self.is_fenced:
                follower.poll()
            if stalls is not None and not self.stop_requested and self.stall is None and (stall := stalls.check()) is not None:
                self.stall = stall
                self._end_stalled(self.trainer, stall)
            time.sleep(POLL_S)
        self.wait()
        if follower is not None and not self.is_fenced:
            follower.close()

    def wait(self) -> None:
        """Wait for the end of the trainer and of all its processes, and handle only stop requests."""
        if self.trainer is None:
            return
        while (code := self.trainer.poll()) is None:
            self._keep_lease(self.trainer)
            self._handle_stop(self.trainer)
            time.sleep(POLL_S)
        self.code = code
        self._handled_request = self.stop_request() or self._handled_request  # too late for the trainer, and not meant for its check
        self.is_fenced = self.is_fenced or code == EXIT_FENCED or self.lease.is_lost()
        survivors = terminate_process_tree(self.trainer, self.run, self.spec.run_id, kill=self.was_killed)
        if survivors:
            log.error("processes %s survived SIGKILL", survivors)

    def _keep_lease(self, trainer: Trainer) -> None:
        """Renew the locks on the devices and the lease on the folder.

        Kill the trainer if another start has the folder, since a kohya checkout does not check the lease itself.
        """
        if self._devices is not None and time.monotonic() - self._renewed_at >= RENEW_S:
            self._renewed_at = time.monotonic()
            self._devices.renew()
        if self.is_fenced or self.lease.keep():
            return
        self.is_fenced = self.was_killed = True
        log.error("another start has taken over this folder; SIGKILL to the trainer's process group")
        kill_group(trainer)

    def _handle_stop(self, trainer: Trainer) -> None:
        request = self.stop_request()
        if request is None:
            return
        self._handled_request = request
        self.stop_immediately = request.grace_s <= 0
        if not self.stop_requested:
            self.stop_requested = True
            self._stop_seen_at = time.monotonic()
            log.info("stop requested; SIGTERM to the trainer, %.0f s to save its state", request.grace_s)
            if request.grace_s > 0:
                request_termination(trainer)
        if time.monotonic() >= self._stop_seen_at + request.grace_s and not self.was_killed:
            self.was_killed = True
            log.info("the grace period is over; SIGKILL to the trainer's process group")
            kill_group(trainer)

    def _end_stalled(self, trainer: Trainer, stall: Stall) -> None:
        """Log where the trainer hangs, then end it, with SIGTERM first since it may still be able to save."""
        log.warning("stalled: no progress in %s for %.0f s (limit %.0f s)", stall.phase, stall.idle_s, stall.limit_s)
        dump_stacks(trainer, self.run.training_log)
        request_termination(trainer)
        deadline = time.monotonic() + STALL_GRACE_S * min(1.0, self.spec.stall_scale)
        while trainer.poll() is None and time.monotonic() < deadline:
            time.sleep(POLL_S)
        self.was_killed = trainer.poll() is None
        if self.was_killed:
            kill_group(trainer)


def record_processes(run: RunPaths, spec: LaunchSpec, trainer: ProcessIdentity | None, *, started_at: float) -> None:
    """Record the processes of an attempt, this one as its supervisor.

    Raises:
        StorageError: If process.json cannot be written.
    """
    own = identify(os.getpid(), spec.run_id)
    write_record(run, ProcessRecord(run_id=spec.run_id, attempt=spec.attempt, started_at=started_at, supervisor=own, trainer=trainer))
    if not spec.monitoring:
        return
    try:
        write_text(run.monitor_pid, f"{os.getpid()}\n")
    except StorageError as error:  # only the list of sessions depends on it
        log.error("%s", error)

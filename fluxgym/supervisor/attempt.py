"""One attempt of a run: its trainer, watched until nothing of it lives; stopped when somebody wishes it, ended when it stalls."""

import logging
import os
import signal
import time

from fluxgym.errors import StorageError
from fluxgym.runs.files import write_text
from fluxgym.runs.launch_spec import LaunchSpec, StopRequest, read_stop_request
from fluxgym.runs.paths import RunPaths
from fluxgym.runs.process_identity import ProcessIdentity, identify, write_record
from fluxgym.supervisor.outcome import kernel_oom_kills
from fluxgym.supervisor.stall import Stall, StallWatch, dump_stacks
from fluxgym.supervisor.trainer_process import POLL_S, UNKNOWN_CODE, Trainer, request_termination, signal_group, terminate_process_tree
from fluxgym.trainers.base import backend_named

STALL_GRACE_S = 10.0
log = logging.getLogger("fluxgym.supervisor")


class Attempt:
    """What is known of one attempt while it goes on. `trainer` is None when only what it left is looked at.

    A stop of `first_attempt` counts as one of this, which followed it without anybody's asking.
    """

    def __init__(self, run: RunPaths, order: LaunchSpec, trainer: Trainer | None, *, started_at: float, first_attempt: int) -> None:
        self.run, self.order, self.trainer, self.started_at = run, order, trainer, started_at
        self.code = UNKNOWN_CODE
        self.stop_requested = self.was_killed = self.stop_immediately = False
        self.stall: Stall | None = None
        self.oom_kills = kernel_oom_kills()
        self._first_attempt, self._stop_seen_at = first_attempt, 0.0
        self._heeded: StopRequest | None = None

    @property
    def pid(self) -> int | None:
        """The trainer's PID."""
        return self.trainer.pid if self.trainer else None

    @property
    def exit_code(self) -> int | None:
        """How the trainer ended, negative for a signal; None when it cannot be known."""
        return None if self.code == UNKNOWN_CODE else self.code

    def stop_request(self) -> StopRequest | None:
        """Return the wish to stop, None while nobody has it."""
        return read_stop_request(self.run, self.order.run_id, self._first_attempt)

    def has_new_stop_request(self) -> bool:
        """Return True if somebody wishes to stop who did not while the trainer lived."""
        return (stop_request := self.stop_request()) is not None and stop_request != self._heeded

    def watch(self) -> None:
        """Wait for the trainer's end; meanwhile heed Stop, look for a stall if monitoring is on, and follow its output if it writes no progress."""
        if self.trainer is None:
            return
        stalls = StallWatch(self.run, self.trainer.pid, scale=self.order.stall_scale) if self.order.monitoring else None
        follower = backend_named(self.order.backend).follow_progress(self.run, self.order)
        while self.trainer.poll() is None:
            self._handle_stop(self.trainer)
            if follower is not None:
                follower.poll()
            if stalls is not None and not self.stop_requested and self.stall is None and (stall := stalls.look()) is not None:
                self.stall = stall
                self._end_stalled(self.trainer, stall)
            time.sleep(POLL_S)
        self.wait()
        if follower is not None:
            follower.close()

    def wait(self) -> None:
        """Wait for the trainer's end and that of all its family, heeding Stop and nothing else."""
        if self.trainer is None:
            return
        while (code := self.trainer.poll()) is None:
            self._handle_stop(self.trainer)
            time.sleep(POLL_S)
        self.code = code
        left = terminate_process_tree(self.trainer.pid, self.run, self.order.run_id, kill=self.was_killed)
        if left:
            log.error("processes %s outlived SIGKILL", left)

    def _handle_stop(self, trainer: Trainer) -> None:
        stop_request = self.stop_request()
        if stop_request is None:
            return
        self._heeded, self.stop_immediately = stop_request, stop_request.grace_s <= 0
        if not self.stop_requested:
            self.stop_requested, self._stop_seen_at = True, time.monotonic()
            log.info("stop requested; SIGTERM to the trainer, %.0f s to save its state", stop_request.grace_s)
            if stop_request.grace_s > 0:
                request_termination(trainer.pid)
        if time.monotonic() >= self._stop_seen_at + stop_request.grace_s and not self.was_killed:
            self.was_killed = True
            log.info("the deadline has passed; SIGKILL to the trainer's group")
            signal_group(trainer.pid, signal.SIGKILL)

    def _end_stalled(self, trainer: Trainer, stall: Stall) -> None:
        """Write down where the trainer is stuck, then end it: kindly at first, since it might still save."""
        log.warning("stalled: no progress in %s for %.0f s (limit %.0f s)", stall.phase, stall.idle_s, stall.limit_s)
        dump_stacks(trainer.pid, self.run.training_log)
        request_termination(trainer.pid)
        deadline = time.monotonic() + STALL_GRACE_S * min(1.0, self.order.stall_scale)
        while trainer.poll() is None and time.monotonic() < deadline:
            time.sleep(POLL_S)
        self.was_killed = trainer.poll() is None
        if self.was_killed:
            signal_group(trainer.pid, signal.SIGKILL)


def record(run: RunPaths, order: LaunchSpec, trainer: ProcessIdentity | None, *, started_at: float) -> None:
    """Write down which processes the attempt has, this one as its supervisor; raises StorageError when process.json cannot be written."""
    write_record(run, order.run_id, order.attempt, identify(os.getpid(), order.run_id), trainer, started_at)
    if not order.monitoring:
        return
    try:
        write_text(run.monitor_pid, f"{os.getpid()}\n")
    except StorageError as error:  # then the list shows no monitoring, and no more harm is done
        log.error("%s", error)

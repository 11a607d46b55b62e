"""The process that starts a trainer, watches it, stops it when asked, and says how it ended: `python -m fluxgym.launch.supervisor FOLDER`.

It has its own session, so the page, the terminal and the connection may go. Standard library and psutil only: one lives beside every run.
It waits for its devices first; a trainer that stalls is ended and goes on from its newest complete checkpoint.
"""

import logging
import os
import signal
import sys
import time
from pathlib import Path
from typing import IO, Any

from fluxgym.errors import FluxGymError
from fluxgym.launch.devices import release, take
from fluxgym.launch.ending import Evidence, judge, kernel_oom_kills, signal_name, verify_in_child
from fluxgym.launch.foreign import ForeignProgress
from fluxgym.launch.order import LaunchOrder, StopOrder, read_launch, read_stop, write_launch
from fluxgym.launch.queue import Queue
from fluxgym.launch.restarts import Restarts
from fluxgym.launch.stall import Stall, StallWatch, dump_stacks
from fluxgym.launch.trainer_process import (
    POLL_S,
    UNKNOWN_CODE,
    TakenOver,
    Trainer,
    adopt_orphans,
    ask_to_end,
    clear_family,
    signal_group,
    start_trainer,
)
from fluxgym.run.atomic import write_text
from fluxgym.run.checkpoints import list_complete
from fluxgym.run.exit_record import ExitRecord, reserve_exit, write_exit
from fluxgym.run.identity import ProcessIdentity, identify, is_alive
from fluxgym.run.lock import try_lock
from fluxgym.run.logs import tail
from fluxgym.run.paths import OutputsPaths, RunPaths
from fluxgym.run.process_record import read_record, write_record
from fluxgym.run.progress import is_done, read_last
from fluxgym.run.status import DerivedStatus, Status
from fluxgym.run.ui_state import update_state

QUEUE_POLL_S = 1.0
STALL_GRACE_S = 10.0
CANCELLED = DerivedStatus(Status.STOPPED, "user", "Cancelled by you before it began.")
log = logging.getLogger("fluxgym.supervisor")


class Supervisor:
    """One run, from its place in the queue to its end; more than one attempt when its trainer stalls."""

    def __init__(self, run: RunPaths, order: LaunchOrder) -> None:
        self.run, self.order, self.first_attempt = run, order, order.attempt
        self.started_at = time.time()
        self.stop_requested = self.had_to_kill = self.asked_at_once = False
        self.stop_seen_at = 0.0
        self.stall: Stall | None = None
        self.restarts = Restarts(run, exact=not order.foreign)
        self.oom_kills = kernel_oom_kills()
        self.me = identify(os.getpid(), order.run_id)

    def supervise(self) -> None:
        """Wait for the devices, then start the trainer as often as is needed, and record how it ended."""
        self._record(None)
        log.info("attempt %d of run %s begins", self.order.attempt, self.order.run_id)
        try:
            held = self._await_turn()
        except FluxGymError as error:
            self._write_end(DerivedStatus(Status.FAILED, "launch", f"It could not wait for its turn: {error}"), None, None, {})
            return
        if held is None:
            self._write_end(CANCELLED, None, None, {})
            return
        try:
            while self._attempt(held):
                pass
        finally:
            release(held)

    def stop_foreign(self) -> None:
        """Stop a trainer whose own supervisor has died."""
        record = read_record(self.run)
        if record is None or record.trainer is None or not is_alive(record.trainer):
            return
        self.started_at = record.started_at
        self._record(record.trainer)
        log.info("took over the trainer, PID %d, to stop it", record.trainer.pid)
        self._end(record.trainer.pid, self._watch(TakenOver(record.trainer), None))

    def verify(self) -> None:
        """Judge what a trainer left that finished while nobody watched."""
        before = read_record(self.run)
        self.started_at = before.started_at if before is not None else self.started_at
        self._record(None)
        update_state(self.run, {"status": "running", "reason": None, "reason_code": None})
        self._end(None, UNKNOWN_CODE)

    # -- the steps ---------------------------------------------------------------------------------------------------------------

    def _await_turn(self) -> list[IO[str]] | None:
        """Return the devices' locks once it is this run's turn, None when it was cancelled before."""
        queue, said = Queue(OutputsPaths(self.run.folder.parent)), ""
        queue.enter(self.run, self.order.run_id, self.order.devices)
        try:
            while self._wish() is None:
                if not queue.before(self.run) and (held := take(self.order.devices, self.run.slug)) is not None:
                    return held
                reason = queue.reason(self.run, self.order.devices)
                if reason != said:
                    said = reason
                    log.info("queued: %s", reason)
                    update_state(self.run, {"status": "queued", "reason": reason})
                time.sleep(QUEUE_POLL_S)
            return None
        finally:
            queue.leave(self.run)

    def _attempt(self, held: list[IO[str]]) -> bool:
        """Run the trainer once; True when it stalled and is to be started again."""
        self.started_at, self.stall, self.had_to_kill = time.time(), None, False
        reserve_exit(self.run)
        try:
            child = start_trainer(self.run, self.order, held)
        except OSError as error:
            self._write_end(DerivedStatus(Status.FAILED, "launch", f"The trainer could not be started: {error}."), None, None, {})
            return False
        log.info("trainer started, PID %d", child.pid)
        try:
            write_text(self.run.training_pid, f"{child.pid}\n")  # before the record: a recorded trainer without it is a removed one
            self._record(identify(child.pid, self.order.run_id))
            update_state(self.run, {"status": "running", "reason": None, "host": self.me.host if self.me else None})
        except FluxGymError as error:  # a trainer that nobody could find again must not go on
            log.error("%s", error)
            signal_group(child.pid, signal.SIGKILL)
            child.wait()
            self._write_end(DerivedStatus(Status.FAILED, "disk_full", f"It was ended at once: {error}"), child.pid, None, {})
            return False
        watch = StallWatch(self.run, child.pid, scale=self.order.stall_scale) if self.order.monitoring else None
        code = self._watch(child, watch)
        has_finished = code == 0 or is_done(self._last_line())
        if self.stall is not None and not self.stop_requested and not has_finished and self._may_restart(self.stall):
            return True
        self._end(child.pid, code)
        return False

    def _record(self, trainer: ProcessIdentity | None) -> None:
        write_record(self.run, self.order.run_id, self.order.attempt, self.me, trainer, self.started_at)
        if self.order.monitoring:
            write_text(self.run.monitor_pid, f"{os.getpid()}\n")

    def _watch(self, trainer: Trainer, watch: StallWatch | None) -> int:
        """Wait for the trainer's end, doing what stop.json asks for and looking for a stall meanwhile; returns its exit code."""
        foreign = ForeignProgress(self.run, self.order) if self.order.foreign else None
        while (code := trainer.poll()) is None:
            self._heed_stop(trainer)
            if foreign is not None:
                foreign.poll()
            if watch is not None and not self.stop_requested and self.stall is None and (stall := watch.look()) is not None:
                self.stall = stall
                self._end_stalled(trainer, stall)
            time.sleep(POLL_S)
        left = clear_family(trainer.pid, self.run, kill=self.had_to_kill)
        if left:
            log.error("processes %s outlived SIGKILL", left)
        if foreign is not None:
            foreign.close()
        return code

    def _heed_stop(self, trainer: Trainer) -> None:
        wish = self._wish()
        if wish is None:
            return
        self.asked_at_once = wish.grace_s <= 0
        if not self.stop_requested:
            self.stop_requested, self.stop_seen_at = True, time.monotonic()
            log.info("stop requested; SIGTERM to the trainer, %.0f s to save its state", wish.grace_s)
            if wish.grace_s > 0:
                ask_to_end(trainer.pid)
        if time.monotonic() >= self.stop_seen_at + wish.grace_s and not self.had_to_kill:
            self.had_to_kill = True
            log.info("the deadline has passed; SIGKILL to the trainer's group")
            signal_group(trainer.pid, signal.SIGKILL)

    def _wish(self) -> StopOrder | None:
        return read_stop(self.run, self.order.run_id, self.first_attempt)

    # -- a stall -----------------------------------------------------------------------------------------------------------------

    def _end_stalled(self, trainer: Trainer, stall: Stall) -> None:
        """Write down where the trainer is stuck, then end it: kindly at first, since it might still save."""
        log.warning("stalled: no progress in %s for %.0f s (limit %.0f s)", stall.phase, stall.silent_s, stall.limit_s)
        dump_stacks(trainer.pid, self.run.training_log)
        ask_to_end(trainer.pid)
        deadline = time.monotonic() + STALL_GRACE_S * min(1.0, self.order.stall_scale)
        while trainer.poll() is None and time.monotonic() < deadline:
            time.sleep(POLL_S)
        self.had_to_kill = trainer.poll() is None
        if self.had_to_kill:
            signal_group(trainer.pid, signal.SIGKILL)

    def _may_restart(self, stall: Stall) -> bool:
        """Prepare the next attempt after a pause; False when there is no use in one, or the user stops it meanwhile."""
        pause_s = self.restarts.allow(self._last_line().get("step") or 0)
        if pause_s is None:
            return False
        checkpoint = self.restarts.checkpoint()
        log.info("restart %d: from %s, in %.0f s", self.restarts.count, checkpoint.name if checkpoint else "the beginning", pause_s)
        self._record(None)
        self.run.training_pid.unlink(missing_ok=True)
        reason = f"It stalled while {stall.phase} and is being started again (restart {self.restarts.count})."
        update_state(self.run, {"status": "starting", "reason": reason})
        deadline = time.monotonic() + pause_s * self.order.stall_scale
        while time.monotonic() < deadline:
            if self._wish() is not None:
                self.stop_requested = True
                return False
            time.sleep(POLL_S)
        self.order = self.order.again(checkpoint.folder if checkpoint else None)
        write_launch(self.run, self.order, keep_stop=True)
        self._record(None)
        return True

    # -- the end -----------------------------------------------------------------------------------------------------------------

    def _end(self, pid: int | None, code: int) -> None:
        """Judge the end and write it down: exit.json, then ui_state.json, then the PID files go."""
        last = self._last_line()
        known = None if code == UNKNOWN_CODE else code
        verdict = verify_in_child(self.run, self.order, self.started_at, last) if known == 0 or is_done(last) else None
        if verdict is not None:
            log.info("verified: %s", verdict)
        evidence = Evidence(
            exit_code=known,
            stop_requested=self.stop_requested,
            had_to_kill=self.had_to_kill,
            asked_at_once=self.asked_at_once,
            last_line=last,
            log_end=tail(self.run.training_log, 60),
            kernel_killed=kernel_oom_kills() > self.oom_kills,
            verdict=verdict,
            saved_state=self._has_saved(last.get("step")),
            has_checkpoint=bool(list_complete(self.run, exact=not self.order.foreign)),
            stall=self.stall,
            restarts=self.restarts.count,
        )
        self._write_end(judge(evidence), pid, known, verdict or {})

    def _has_saved(self, step: object) -> bool:
        complete = list_complete(self.run, exact=not self.order.foreign)
        return any(found.step == step and found.written_at >= self.started_at for found in complete)

    def _write_end(self, end: DerivedStatus, pid: int | None, code: int | None, verified: dict[str, Any]) -> None:
        ended_at = time.time()
        record = ExitRecord(
            run_id=self.order.run_id,
            attempt=self.order.attempt,
            status=end.status.value,
            reason_code=end.reason_code,
            reason=end.reason,
            pid=pid,
            exit_code=code if code is None or code >= 0 else None,
            signal=signal_name(-code) if code is not None and code < 0 else None,
            started_at=self.started_at,
            ended_at=ended_at,
            last_step=self._last_line().get("step"),
            verified=verified,
        )
        log.info("ended: %s %s %s", end.status.value, end.reason_code, end.reason)
        changes = {
            "status": end.status.value,
            "reason_code": end.reason_code or None,
            "reason": end.reason or None,
            "exit_code": record.exit_code,
            "completed_at": ended_at,
        }
        try:
            write_exit(self.run, record)
            update_state(self.run, changes)
        except FluxGymError as error:  # a full disk: readers see that no process lives, and say so
            log.error("%s", error)
        self.run.training_pid.unlink(missing_ok=True)
        self.run.monitor_pid.unlink(missing_ok=True)

    def _last_line(self) -> dict[str, Any]:
        """Return the trainer's last word of this attempt; an earlier attempt's does not count."""
        last = read_last(self.run.progress)
        return last if last is not None and last.get("attempt", 1) == self.order.attempt else {}


def _let_pass(number: int, frame: object) -> None:
    """What ends the page or the terminal must not end the watch. A handler, since the trainer would inherit SIG_IGN."""


def main(argv: list[str]) -> int:
    """Supervise the run in a folder, unless another supervisor does."""
    run = RunPaths(Path(argv[0]).resolve())
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _let_pass)
    order = read_launch(run)
    if order is None:
        log.error("%s cannot be read, so there is nothing to start", run.launch.name)
        return 1
    lock = try_lock(run.private / "supervisor.lock")
    if lock is None:
        log.error("another supervisor watches this run already")
        return 1
    with lock:
        adopt_orphans()
        supervisor = Supervisor(run, order)
        if "--only-stop" in argv:
            supervisor.stop_foreign()
        elif "--only-verify" in argv:
            supervisor.verify()
        else:
            supervisor.supervise()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

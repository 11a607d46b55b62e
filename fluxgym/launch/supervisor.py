"""The process that starts a trainer, watches it, stops it when asked, and says how it ended: `python -m fluxgym.launch.supervisor FOLDER`.

It has its own session, so the page, the terminal and the connection may go. Standard library and psutil only: one lives beside every run.
"""

import fcntl
import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Protocol

from fluxgym.errors import FluxGymError
from fluxgym.launch.ending import Evidence, judge
from fluxgym.launch.order import LaunchOrder, read_launch, read_stop
from fluxgym.run.atomic import write_text
from fluxgym.run.checkpoints import list_complete
from fluxgym.run.exit_record import ExitRecord, write_exit
from fluxgym.run.identity import ProcessIdentity, group_members, identify, is_alive
from fluxgym.run.logs import tail
from fluxgym.run.paths import RunPaths
from fluxgym.run.process_record import read_record, write_record
from fluxgym.run.progress import read_last
from fluxgym.run.status import DerivedStatus, Status
from fluxgym.run.ui_state import update_state

POLL_S = 0.25
GROUP_END_S = 10.0
VERIFY_TIMEOUT_S = 600.0
SECRETS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_TOKEN", "FLUXGYM_TOKEN", "WANDB_API_KEY")
log = logging.getLogger("fluxgym.supervisor")


class Trainer(Protocol):
    """A trainer's process: a child, or one that was taken over from a supervisor that died."""

    pid: int

    def poll(self) -> int | None:
        """Return the exit code once it has ended, None before; UNKNOWN_CODE when it cannot be known."""


UNKNOWN_CODE = 1 << 16


class Foreign:
    """A trainer that is somebody else's child; its exit code cannot be known."""

    def __init__(self, identity: ProcessIdentity) -> None:
        self.identity, self.pid = identity, identity.pid

    def poll(self) -> int | None:
        """Return UNKNOWN_CODE once the very process has gone."""
        return None if is_alive(self.identity) else UNKNOWN_CODE


class Supervisor:
    """One attempt of one run, from start to end."""

    def __init__(self, run: RunPaths, order: LaunchOrder) -> None:
        self.run, self.order = run, order
        self.started_at = time.time()
        self.stop_at: float | None = None
        self.stop_requested = self.had_to_kill = self.asked_at_once = False
        self.oom_kills = _kernel_oom_kills()
        self.me = identify(os.getpid(), order.run_id)

    def supervise(self) -> None:
        """Start the trainer, wait for its end, record it."""
        self._record(None)
        log.info("attempt %d of run %s begins", self.order.attempt, self.order.run_id)
        if read_stop(self.run, self.order.run_id, self.order.attempt):
            self.stop_requested = True
            self._end(None, UNKNOWN_CODE)
            return
        try:
            child = self._start()
        except OSError as error:
            self._write_end(DerivedStatus(Status.FAILED, "launch", f"The trainer could not be started: {error}."), None, None, {})
            return
        log.info("trainer started, PID %d", child.pid)
        try:
            write_text(self.run.training_pid, f"{child.pid}\n")  # before the record: a recorded trainer without it is a removed one
            self._record(identify(child.pid, self.order.run_id))
            update_state(self.run, {"status": "running", "host": self.me.host if self.me else None})
        except FluxGymError as error:  # a trainer that nobody could find again must not go on
            log.error("%s", error)
            _signal_group(child.pid, signal.SIGKILL)
            child.wait()
            self._write_end(DerivedStatus(Status.FAILED, "disk_full", f"It was ended at once: {error}"), child.pid, None, {})
            return
        self._end(child.pid, self._watch(child))

    def stop_foreign(self) -> None:
        """Stop a trainer whose own supervisor has died."""
        record = read_record(self.run)
        if record is None or record.trainer is None or not is_alive(record.trainer):
            return
        self.started_at = record.started_at
        self._record(record.trainer)
        log.info("took over the trainer, PID %d, to stop it", record.trainer.pid)
        self._end(record.trainer.pid, self._watch(Foreign(record.trainer)))

    # -- the steps ---------------------------------------------------------------------------------------------------------------

    def _record(self, trainer: ProcessIdentity | None) -> None:
        write_record(self.run, self.order.run_id, self.order.attempt, self.me, trainer, self.started_at)
        if self.order.monitoring:
            write_text(self.run.monitor_pid, f"{os.getpid()}\n")

    def _start(self) -> subprocess.Popen[bytes]:
        """Start the trainer in its own process group, its output straight into training.log."""
        environment = {name: value for name, value in os.environ.items() if name not in SECRETS}
        environment |= {
            "PYTHONUNBUFFERED": "1",
            "FLUXGYM_RUN_ID": self.order.run_id,
            "FLUXGYM_ATTEMPT": str(self.order.attempt),
            **self.order.env,
        }
        with self.run.training_log.open("ab") as output:
            header = f"== attempt {self.order.attempt} of run {self.order.run_id}, {time.strftime('%Y-%m-%d %H:%M:%S')} ==\n"
            output.write(header.encode())
            output.flush()
            return subprocess.Popen(
                self.order.argv,
                cwd=self.order.cwd,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def _watch(self, trainer: Trainer) -> int:
        """Wait for the trainer's end, doing what stop.json asks for meanwhile; returns its exit code."""
        while (code := trainer.poll()) is None:
            self._heed_stop(trainer)
            time.sleep(POLL_S)
        self._clear_group(trainer.pid)
        return code

    def _heed_stop(self, trainer: Trainer) -> None:
        wish = read_stop(self.run, self.order.run_id, self.order.attempt)
        if wish is None:
            return
        self.asked_at_once = wish.grace_s <= 0
        if not self.stop_requested:
            self.stop_requested = True
            log.info("stop requested; SIGTERM to the trainer, %.0f s to save its state", wish.grace_s)
            if wish.grace_s > 0:
                _signal(trainer.pid, signal.SIGTERM)
        if time.time() >= wish.requested_at + wish.grace_s and not self.had_to_kill:
            self.had_to_kill = True
            log.info("the deadline has passed; SIGKILL to the trainer's group")
            _signal_group(trainer.pid, signal.SIGKILL)

    def _clear_group(self, pgid: int) -> None:
        """Let nothing of the trainer's own process group outlive it."""
        deadline = time.monotonic() + GROUP_END_S
        while members := group_members(pgid):
            if time.monotonic() > deadline:
                log.error("processes %s outlived SIGKILL", members)
                return
            _signal_group(pgid, signal.SIGKILL if self.had_to_kill or time.monotonic() > deadline - GROUP_END_S / 2 else signal.SIGTERM)
            time.sleep(POLL_S)

    # -- the end -----------------------------------------------------------------------------------------------------------------

    def _end(self, pid: int | None, code: int) -> None:
        """Judge the end and write it down: exit.json, then ui_state.json, then the PID files go."""
        last = self._last_line()
        known = None if code == UNKNOWN_CODE else code
        verdict = self._verify(last) if known == 0 else None
        evidence = Evidence(
            exit_code=known,
            stop_requested=self.stop_requested,
            had_to_kill=self.had_to_kill,
            asked_at_once=self.asked_at_once,
            last_line=last,
            log_end=tail(self.run.training_log, 60),
            kernel_killed=_kernel_oom_kills() > self.oom_kills,
            verdict=verdict,
            saved_state=any(found.step == last.get("step") and found.written_at >= self.started_at for found in list_complete(self.run)),
        )
        self._write_end(judge(evidence), pid, known, verdict or {})

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
            signal=signal.Signals(-code).name if code is not None and code < 0 else None,
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

    def _verify(self, last: dict[str, Any]) -> dict[str, Any]:
        """Have the LoRA checked by a child, which may load what this process must not."""
        steps = self.order.expected_steps if self.order.expected_steps is not None else int(last.get("total_steps") or 0)
        numbers = [str(self.started_at), str(steps), str(int(last.get("step") or 0))]
        argv = [sys.executable, "-m", "fluxgym.launch.verify", str(self.run.lora), *numbers]
        try:
            done = subprocess.run(argv, capture_output=True, text=True, timeout=VERIFY_TIMEOUT_S, check=True, cwd=Path(__file__).parents[2])
            verdict = json.loads(done.stdout)
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            return {"ok": False, "reason": f"its result could not be checked ({error})"}
        log.info("verified: %s", verdict)
        return dict(verdict)


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _signal_group(pgid: int, number: int) -> None:
    try:
        os.killpg(pgid, number)
    except ProcessLookupError:
        return


def _kernel_oom_kills() -> int:
    """Return how often the kernel has killed in this control group for want of memory; 0 when it does not say."""
    try:
        lines = Path("/sys/fs/cgroup/memory.events").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))
    except (OSError, StopIteration, ValueError):
        return 0


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
    with (run.private / "supervisor.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.error("another supervisor watches this run already")
            return 1
        supervisor = Supervisor(run, order)
        if "--only-stop" in argv:
            supervisor.stop_foreign()
        else:
            supervisor.supervise()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

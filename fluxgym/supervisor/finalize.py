"""The end of a run: verify the LoRA in a child process, record the outcome, and clean up."""

import json
import logging
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from fluxgym.contract.codes import Phase
from fluxgym.contract.progress import format_line
from fluxgym.errors import FluxGymError
from fluxgym.runs.checkpoints import list_complete
from fluxgym.runs.exit_record import ExitRecord, write_exit_record
from fluxgym.runs.files import tail
from fluxgym.runs.launch_spec import LaunchSpec
from fluxgym.runs.paths import RunPaths
from fluxgym.runs.progress import is_done, read_last
from fluxgym.runs.snapshot import RunSnapshot
from fluxgym.runs.state import read_state, update_state
from fluxgym.runs.status import SessionStatus
from fluxgym.supervisor.attempt import Attempt
from fluxgym.supervisor.outcome import ExitContext, classify, kernel_oom_kills, signal_name
from fluxgym.supervisor.trainer_process import POLL_S
from fluxgym.trainers.base import backend_named

log = logging.getLogger("fluxgym.supervisor")
VERIFIER = (sys.executable, "-m", "fluxgym.supervisor.verify_lora")
TIMEOUT_S = 600.0
UNCHECKED = "its result could not be checked"


def close(attempt: Attempt, *, restarts: int) -> None:
    """Judge the end of an attempt that nothing follows, and write it down."""
    last, verdict = last_line(attempt.run, attempt.order), None
    has_finished = attempt.exit_code == 0 or is_done(last)
    if has_finished:
        verdict = verify(attempt, _began_at(attempt), last)
        log.info("verified: %s", verdict)
    context = replace(_evidence(attempt, last, restarts), verdict=verdict, check_stopped=has_finished and verdict is None)
    write_outcome(attempt.run, attempt.order, classify(context), attempt=attempt, verified=verdict)


def _began_at(attempt: Attempt) -> float:
    """Return when an attempt began by the clock of the run's own disk, since a file server's and this machine's may differ.

    Its order lies there and was written just before, so whatever the attempt has written is no older.
    """
    return RunSnapshot(attempt.run, {}).launched_at or attempt.started_at


def _evidence(attempt: Attempt, last: dict[str, Any], restarts: int) -> ExitContext:
    complete, began_at = list_complete(attempt.run, backend_named(attempt.order.backend)), _began_at(attempt)
    return ExitContext(
        exit_code=attempt.exit_code,
        stop_requested=attempt.stop_requested,
        was_killed=attempt.was_killed,
        stop_immediately=attempt.stop_immediately,
        last_line=last,
        log_end=tail(attempt.run.training_log, 60),
        kernel_killed=kernel_oom_kills() > attempt.oom_kills,
        verdict=None,
        saved_state=any(found.step == last.get("step") and found.written_at >= began_at for found in complete),
        has_checkpoint=bool(complete),
        stall=attempt.stall,
        restarts=restarts,
    )


def write_outcome(
    run: RunPaths, order: LaunchSpec, end: SessionStatus, *, attempt: Attempt | None = None, verified: dict[str, Any] | None = None
) -> None:
    """Write down how a run ended, as far as the disk takes it; `attempt` is None when there was no trainer."""
    code = attempt.exit_code if attempt else None
    record = ExitRecord(
        run_id=order.run_id,
        attempt=order.attempt,
        status=end.status.value,
        reason_code=end.reason_code,
        reason=end.reason,
        pid=attempt.pid if attempt else None,
        exit_code=code if code is None or code >= 0 else None,
        signal=signal_name(-code) if code is not None and code < 0 else None,
        started_at=attempt.started_at if attempt else None,
        ended_at=time.time(),
        last_step=last_line(run, order).get("step"),
        verified=verified or {},
    )
    log.info("ended: %s %s %s", end.status.value, end.reason_code, end.reason)
    if _runs_another(run, order):
        log.error("%s was started again meanwhile; its state is left alone", run.slug)
        return
    try:
        write_exit_record(run, record)
    except FluxGymError as error:  # a full disk: readers see that no process lives, and say so
        log.error("%s", error)
    say(run, _as_state(record))
    for path in (run.training_pid, run.monitor_pid, run.stop_reserve):
        _remove(path)


def _runs_another(run: RunPaths, order: LaunchSpec) -> bool:
    """Return True if the folder is a newer start's by now, because somebody removed it under a living trainer."""
    try:
        return read_state(run).get("run_id") not in (None, order.run_id)
    except FluxGymError:
        return False


def _as_state(record: ExitRecord) -> dict[str, Any]:
    return {
        "status": record.status,
        "reason_code": record.reason_code or None,
        "reason": record.reason or None,
        "exit_code": record.exit_code,
        "completed_at": record.ended_at,
    }


def say(run: RunPaths, changes: dict[str, Any]) -> None:
    """Change the stored state if that can be done; what is shown is derived, so a run goes on without it."""
    try:
        update_state(run, changes)
    except FluxGymError as error:
        log.error("%s", error)


def last_line(run: RunPaths, order: LaunchSpec) -> dict[str, Any]:
    """Return the trainer's last word of this attempt; an earlier attempt's does not count."""
    last = read_last(run.progress)
    return last if last is not None and last.get("attempt", 1) == order.attempt else {}


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        log.error("%s could not be removed: %s", path, error)


def verify(attempt: Attempt, began_at: float, last: dict[str, Any]) -> dict[str, Any] | None:
    """Return the verdict on a run's LoRA, None when somebody stopped the check; `last` is the trainer's last word.

    `began_at` is by the clock of the run's disk. Meanwhile the run's phase is `verifying`, afterwards again what the trainer said.
    """
    run, order = attempt.run, attempt.order
    steps = order.expected_steps if order.expected_steps is not None else int(last.get("total_steps") or 0)
    numbers = [str(began_at), str(steps), str(int(last.get("step") or 0))]
    place: dict[str, Any] = {name: last[name] for name in ("step", "total_steps", "epoch") if name in last}
    _tell(run, last and {"attempt": order.attempt, **place, "phase": Phase.VERIFYING})
    try:
        return _ask([*VERIFIER, str(run.lora), *numbers], attempt)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        return {"ok": False, "reason": f"{UNCHECKED} ({error})"}
    finally:
        _tell(run, last)


def _ask(argv: list[str], attempt: Attempt) -> dict[str, Any] | None:
    """Run the check; raises subprocess.TimeoutExpired, and ValueError for an answer that is none."""
    child = subprocess.Popen(
        argv, cwd=Path(__file__).parents[2], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    deadline = time.monotonic() + TIMEOUT_S
    with child:
        while child.poll() is None:  # what it says is shorter than a pipe takes
            if attempt.has_new_stop_request():
                child.kill()
                return None
            if time.monotonic() > deadline:
                child.kill()
                raise subprocess.TimeoutExpired(argv, TIMEOUT_S)
            time.sleep(POLL_S)
        said = child.stdout.read() if child.stdout else ""
    if child.returncode != 0:
        log.error("the check failed: %s", said)
        raise ValueError(f"the check ended with {child.returncode}")
    return dict(json.loads(said))


def _tell(run: RunPaths, line: dict[str, Any]) -> None:
    """Append to progress.jsonl, whose writer has ended; nothing to one who never said a word. A full disk only hides the phase."""
    if not line:
        return
    try:
        with run.progress.open("a", encoding="utf-8") as file:
            file.write(format_line(line | {"time": time.time()}))
    except OSError as error:
        log.warning("progress could not be written: %s", error)

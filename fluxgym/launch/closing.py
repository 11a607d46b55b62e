"""The end of a run: its result checked, how it ended judged, and that written down: exit.json, ui_state.json, then the PID files go."""

import logging
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from fluxgym.errors import FluxGymError
from fluxgym.launch.attempt import Attempt
from fluxgym.launch.ending import Evidence, judge, kernel_oom_kills, signal_name
from fluxgym.launch.order import LaunchOrder
from fluxgym.launch.verification import verify
from fluxgym.run.checkpoints import list_complete
from fluxgym.run.exit_record import ExitRecord, write_exit
from fluxgym.run.facts import RunFacts
from fluxgym.run.logs import tail
from fluxgym.run.paths import RunPaths
from fluxgym.run.progress import is_done, read_last
from fluxgym.run.status import DerivedStatus
from fluxgym.run.ui_state import read_state, update_state

log = logging.getLogger("fluxgym.supervisor")


def close(attempt: Attempt, *, restarts: int) -> None:
    """Judge the end of an attempt that nothing follows, and write it down."""
    last, verdict = last_line(attempt.run, attempt.order), None
    has_finished = attempt.exit_code == 0 or is_done(last)
    if has_finished:
        verdict = verify(attempt, _began_at(attempt), last)
        log.info("verified: %s", verdict)
    evidence = replace(_evidence(attempt, last, restarts), verdict=verdict, check_stopped=has_finished and verdict is None)
    write_end(attempt.run, attempt.order, judge(evidence), attempt=attempt, verified=verdict)


def _began_at(attempt: Attempt) -> float:
    """Return when an attempt began by the clock of the run's own disk, since a file server's and this machine's may differ.

    Its order lies there and was written just before, so whatever the attempt has written is no older.
    """
    return RunFacts(attempt.run, {}).ordered_at or attempt.started_at


def _evidence(attempt: Attempt, last: dict[str, Any], restarts: int) -> Evidence:
    complete, began_at = list_complete(attempt.run, exact=not attempt.order.foreign), _began_at(attempt)
    return Evidence(
        exit_code=attempt.exit_code,
        stop_requested=attempt.stop_requested,
        had_to_kill=attempt.had_to_kill,
        asked_at_once=attempt.asked_at_once,
        last_line=last,
        log_end=tail(attempt.run.training_log, 60),
        kernel_killed=kernel_oom_kills() > attempt.oom_kills,
        verdict=None,
        saved_state=any(found.step == last.get("step") and found.written_at >= began_at for found in complete),
        has_checkpoint=bool(complete),
        stall=attempt.stall,
        restarts=restarts,
    )


def write_end(
    run: RunPaths, order: LaunchOrder, end: DerivedStatus, *, attempt: Attempt | None = None, verified: dict[str, Any] | None = None
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
        log.error("%s was started anew meanwhile; its state is left alone", run.slug)
        return
    try:
        write_exit(run, record)
    except FluxGymError as error:  # a full disk: readers see that no process lives, and say so
        log.error("%s", error)
    say(run, _as_state(record))
    for path in (run.training_pid, run.monitor_pid, run.stop_reserve):
        _remove(path)


def _runs_another(run: RunPaths, order: LaunchOrder) -> bool:
    """Say whether the folder is a newer start's by now, because somebody removed it under a living trainer."""
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


def last_line(run: RunPaths, order: LaunchOrder) -> dict[str, Any]:
    """Return the trainer's last word of this attempt; an earlier attempt's does not count."""
    last = read_last(run.progress)
    return last if last is not None and last.get("attempt", 1) == order.attempt else {}


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        log.error("%s could not be removed: %s", path, error)

"""The end of a run: verify the LoRA in a child process, classify the end, record the outcome and clean up."""

import json
import logging
import math
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from fluxgym.contract.codes import Phase
from fluxgym.contract.progress import append_lines, format_line
from fluxgym.errors import FluxGymError
from fluxgym.runs.atomic_files import remove_file
from fluxgym.runs.checkpoints import Checkpoint, list_complete, num_steps_lost, refuse_checkpoint
from fluxgym.runs.exit_record import ExitRecord, end_changes, write_exit_record
from fluxgym.runs.launch_spec import LaunchSpec, holds_start
from fluxgym.runs.log_tail import tail
from fluxgym.runs.paths import RunPaths
from fluxgym.runs.progress import is_done, read_last
from fluxgym.runs.snapshot import RunSnapshot
from fluxgym.runs.state import read_state, update_state
from fluxgym.supervisor.attempt import Attempt
from fluxgym.supervisor.earlier_files import is_new_lora, read_earlier_files
from fluxgym.supervisor.outcome import UNVERIFIED, ExitContext, Outcome, Verification, classify
from fluxgym.supervisor.trainer_process import POLL_S, kernel_oom_kills
from fluxgym.trainers.base import backend_named

VERIFIER = (sys.executable, "-m", "fluxgym.supervisor.verify_lora")
VERIFY_TIMEOUT_S = 600.0
LOG_LINES = 60
PROJECT = Path(__file__).parents[2]
log = logging.getLogger("fluxgym.supervisor")


def finalize(attempt: Attempt, *, restarts: int) -> None:
    """Verify what the last attempt of a run left, and record the outcome."""
    _refuse_checkpoint(attempt)
    outcome = classify(_exit_context(attempt, restarts))
    record_outcome(attempt.run, attempt.spec, outcome, attempt=attempt)


def _refuse_checkpoint(attempt: Attempt) -> None:
    """Record the checkpoint that the trainer was to resume from and refused, so that the one before it is offered."""
    resumed_from, name = attempt.spec.resume_from, last_line(attempt.run, attempt.spec).get("checkpoint")
    if resumed_from is None or name != Path(resumed_from).name:
        return
    folder, backend = attempt.run.checkpoint(name), backend_named(attempt.spec.backend)
    if (checkpoint := backend.read_checkpoint(folder, verify=False)) is not None:
        refuse_checkpoint(attempt.run, checkpoint)


def record_outcome(run: RunPaths, spec: LaunchSpec, outcome: Outcome, *, attempt: Attempt | None = None) -> None:
    """Write the outcome into exit.json and ui_state.json, as far as the disk permits; attempt is None if no trainer was started."""
    log.info("ended: %s %s %s", outcome.status.value, outcome.reason_code, outcome.reason)
    if _runs_another(run, spec) or not holds_start(run, spec.run_id):
        log.error("%s was removed, moved or started again meanwhile; its state is not changed", run.slug)
        return
    ended_at = time.time()
    record = ExitRecord(
        run_id=spec.run_id,
        attempt=spec.attempt,
        pid=attempt.pid if attempt else None,
        started_at=attempt.started_at if attempt else None,
        ended_at=ended_at,
        **outcome.to_exit(),
    )
    try:
        write_exit_record(run, record)
    except FluxGymError as error:  # on a full disk, readers derive from the missing processes that the run has ended
        log.error("%s", error)
    try_update_state(run, end_changes(record))
    for path in (run.training_pid, run.monitor_pid, run.stop_reserve):
        _remove(path)


def try_update_state(run: RunPaths, changes: dict[str, Any]) -> None:
    """Change the stored state and only log a failure: the shown status is derived, so a run does not depend on it."""
    try:
        update_state(run, changes)
    except FluxGymError as error:
        log.error("%s", error)


def last_line(run: RunPaths, spec: LaunchSpec) -> dict[str, Any]:
    """Return the trainer's last progress line of this attempt, {} if there is none."""
    last = read_last(run.progress)
    return last if last is not None and last.get("attempt", 1) == spec.attempt else {}


def _exit_context(attempt: Attempt, restarts: int) -> ExitContext:
    last = last_line(attempt.run, attempt.spec)
    has_finished = attempt.exit_code == 0 or is_done(last)
    verification = _verify(attempt, last) if has_finished else None
    complete = list_complete(attempt.run, backend_named(attempt.spec.backend))
    return ExitContext(
        exit_code=attempt.exit_code,
        stop_requested=attempt.stop_requested,
        was_killed=attempt.was_killed,
        stop_immediately=attempt.stop_immediately,
        last_line=last,
        log_end=tuple(tail(attempt.run.training_log, LOG_LINES)),
        kernel_killed=kernel_oom_kills() > attempt.oom_kills,
        verification=verification,
        saved_state=any(found.step == last.get("step") and _is_of_attempt(found, attempt) for found in complete),
        has_checkpoint=bool(complete),
        has_steps_left=not complete or _has_steps_left(attempt.spec, complete[0]),
        steps_lost=num_steps_lost(last.get("step") or 0, complete),
        stall=attempt.stall,
        restarts=restarts,
        check_stopped=has_finished and verification is None,
    )


def _has_steps_left(spec: LaunchSpec, newest: Checkpoint) -> bool:
    """Return True if a checkpoint has fewer steps than the whole training, or if these are unknown."""
    total = spec.expected_steps or newest.total_steps
    return newest.step < total or not total


def _launched_at(attempt: Attempt) -> float:
    """Return when an attempt was launched, by the clock of the run's disk, which may be a file server's.

    Only for attempts of earlier versions, which did not record the files before them. launch.json was written to the same disk right
    before the start, so no file of the attempt is older, unless the clock was set back.
    """
    return RunSnapshot(attempt.run, {}).launched_at or attempt.started_at


def _is_of_attempt(checkpoint: Checkpoint, attempt: Attempt) -> bool:
    earlier = read_earlier_files(attempt.run, attempt.spec)
    if earlier is None:
        return checkpoint.written_at >= _launched_at(attempt)
    return earlier.checkpoints.get(checkpoint.name) != checkpoint.written_at


def _oldest_time(attempt: Attempt) -> float:
    """Return the oldest time that a LoRA of this attempt can have, for the verification; an older file counts as an earlier start's.

    If the files before this attempt were recorded, their identity decides, not their time: 0 for a new LoRA, infinity for an old one.
    """
    earlier = read_earlier_files(attempt.run, attempt.spec)
    if earlier is None:
        return _launched_at(attempt)
    return 0.0 if is_new_lora(attempt.run, earlier) else math.inf


def _runs_another(run: RunPaths, spec: LaunchSpec) -> bool:
    """Return True if the folder belongs to a newer start, because it was removed while this trainer was alive."""
    try:
        return read_state(run).get("run_id") not in (None, spec.run_id)
    except FluxGymError:
        return False


def _remove(path: Path) -> None:
    if error := remove_file(path):
        log.error("%s could not be removed: %s", path, error)


def _verify(attempt: Attempt, last: dict[str, Any]) -> Verification | None:
    """Return the check of a run's LoRA, None if a new stop request ended the check; last is the trainer's last line.

    While it runs, the run's phase is `verifying`; afterwards it is again the trainer's last one.
    """
    run, spec = attempt.run, attempt.spec
    steps = spec.expected_steps if spec.expected_steps is not None else int(last.get("total_steps") or 0)
    numbers = [str(_oldest_time(attempt)), str(steps), str(int(last.get("step") or 0))]
    kept: dict[str, Any] = {name: last[name] for name in ("step", "total_steps", "epoch") if name in last}
    _append_progress(run, last and {"attempt": spec.attempt, **kept, "phase": Phase.VERIFYING})
    try:
        verification = _run_verifier([*VERIFIER, str(run.lora), *numbers], attempt)
    except (OSError, subprocess.SubprocessError, ValueError, KeyError) as error:
        verification = Verification(ok=False, reason=f"{UNVERIFIED} ({error})")
    finally:
        _append_progress(run, last)
    if verification is not None:
        log.info("the LoRA file was checked: %s", "it is valid" if verification.ok else verification.reason)
    return verification


def _run_verifier(argv: list[str], attempt: Attempt) -> Verification | None:
    """Run the check and return its result, None if a new stop request ended it.

    Raises:
        subprocess.TimeoutExpired: If it takes too long.
        ValueError, KeyError: If it prints anything but its result.
    """
    child = subprocess.Popen(argv, cwd=PROJECT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deadline = time.monotonic() + VERIFY_TIMEOUT_S
    with child:
        while child.poll() is None:  # its output is shorter than the buffer of a pipe
            if attempt.has_new_stop_request():
                child.kill()
                return None
            if time.monotonic() > deadline:
                child.kill()
                raise subprocess.TimeoutExpired(argv, VERIFY_TIMEOUT_S)
            time.sleep(POLL_S)
        output = child.stdout.read() if child.stdout else ""
    if child.returncode != 0:
        log.error("the check failed: %s", output)
        raise ValueError(f"the check ended with {child.returncode}")
    return Verification.from_json(dict(json.loads(output)))


def _append_progress(run: RunPaths, line: dict[str, Any]) -> None:
    """Append a line to progress.jsonl, whose writer has ended; nothing if the trainer wrote none. A full disk only hides the phase."""
    if not line:
        return
    try:
        append_lines(run.progress, format_line(line | {"time": time.time()}))
    except OSError as error:
        log.warning("progress could not be written: %s", error)

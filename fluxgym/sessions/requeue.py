"""Start a run from the beginning in its own folder: Start and Start again, and Undo of Cancel, which may also continue from a checkpoint."""

import os
from collections.abc import Collection
from pathlib import Path

from fluxgym.contract.codes import ReasonCode, Status
from fluxgym.errors import SessionError
from fluxgym.planning.plan import Planner
from fluxgym.runs.atomic_files import write_text
from fluxgym.runs.paths import OutputsPaths, RunPaths
from fluxgym.runs.snapshot import RunSnapshot
from fluxgym.runs.state import State, name_of, read_state
from fluxgym.sessions.preconditions import ensure_ended, ensure_not_elsewhere, ensure_same_run, name_lock
from fluxgym.sessions.resume import ResumeRequest, has_no_result, launch_next_attempt, resume_locked


def start_again(run: RunPaths, planner: Planner, *, run_id: str | None = None, agreed: Collection[str] = ()) -> RunPaths:
    """Start a run that has no checkpoint and no LoRA file from the beginning, with its own settings and images.

    Raises:
        SessionError: If it has a checkpoint or a LoRA file, which would be replaced.
        NeedsConsent: If the user has to agree to something first.
        AlreadyRunning: While a process of the run is alive.
        FluxGymError: The first error of the plan, or why it cannot be started.
    """
    with name_lock(OutputsPaths(run.folder.parent), run.slug):
        ensure_same_run(run, run_id)
        ensure_ended(run)
        ensure_not_elsewhere(run, agreed)
        if not has_no_result(run):
            raise SessionError(f"{name_of(run)} has a checkpoint or a LoRA file, which a start from the beginning would replace.")
        return _start_from_beginning(run, read_state(run), planner, agreed)


def can_start_again(run: RunPaths) -> bool:
    """Return True if a run that has ended has images, and nothing that a start from the beginning would replace."""
    return has_no_result(run) and _has_files(run.dataset)


def requeue(run: RunPaths, planner: Planner, *, run_id: str | None = None, agreed: Collection[str] = ()) -> RunPaths:
    """Start a run again that was canceled while it waited: from its checkpoint if it waited to be resumed, else from the start.

    Raises:
        SessionError: If it was not canceled while it waited.
        AlreadyRunning: While it has not left the queue yet, or runs again.
        FluxGymError: The first error of the plan, or why it cannot be started.
    """
    with name_lock(OutputsPaths(run.folder.parent), run.slug):
        ensure_same_run(run, run_id)
        ensure_ended(run)
        state = read_state(run)
        snapshot = RunSnapshot(run, state)
        if not _was_canceled(snapshot):
            raise SessionError("It was not canceled while it waited in the queue.")
        latest = snapshot.latest_launch
        if latest is not None and latest.resume_from is not None:
            return resume_locked(run, planner, ResumeRequest(from_checkpoint=Path(latest.resume_from).name, agreed=agreed))
        return _start_from_beginning(run, state, planner, agreed)


def _start_from_beginning(run: RunPaths, state: State, planner: Planner, agreed: Collection[str]) -> RunPaths:
    """Launch the next attempt of a run after the checks of Start; the caller holds the name's lock."""
    planned = planner.plan(state, run.dataset, run=run)
    planned.raise_error()
    planned = planned.with_named_checkpoint()
    write_text(run.sample_prompts, planned.sample_prompts)
    return launch_next_attempt(planned, state, agreed)


def _has_files(folder: Path) -> bool:
    try:
        with os.scandir(folder) as entries:
            return next(entries, None) is not None
    except OSError:
        return False


def _was_canceled(snapshot: RunSnapshot) -> bool:
    """Return True if the user stopped the latest attempt before it had a trainer."""
    spec, record, state = snapshot.launch_spec, snapshot.process_record, snapshot.state
    if spec is None or (state.get("status"), state.get("reason_code")) != (Status.STOPPED, ReasonCode.USER):
        return False
    return record is None or record.attempt < spec.attempt or record.trainer is None

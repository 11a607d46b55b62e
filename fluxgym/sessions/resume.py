"""Resume a run from its newest complete checkpoint, and preview what a resume would do."""

import os
import secrets
import time
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

from fluxgym.app_settings import Settings
from fluxgym.contract.codes import Status
from fluxgym.contract.files import parse_state_name
from fluxgym.contract.volumes import try_chmod
from fluxgym.engines.base import Mode
from fluxgym.engines.registry import engine_of
from fluxgym.errors import DatasetError, NamesCode, NothingToResume, SessionNotFound
from fluxgym.planning.plan import Planner, TrainingPlan
from fluxgym.runs.atomic_files import write_text
from fluxgym.runs.checkpoints import Checkpoint, list_complete, read_refused
from fluxgym.runs.exit_record import ExitRecord, read_exit
from fluxgym.runs.launch_spec import LaunchSpec, clear_stop_request, read_launch_spec, read_own_launch_spec, write_launch_spec
from fluxgym.runs.paths import OutputsPaths, RunPaths
from fluxgym.runs.process_identity import read_record
from fluxgym.runs.progress import duration_text
from fluxgym.runs.snapshot import RunSnapshot
from fluxgym.runs.state import State, name_of, read_state, read_state_or_empty, update_state
from fluxgym.runs.status import is_unchecked
from fluxgym.sessions.history import save_version
from fluxgym.sessions.launch import launch, launch_spec
from fluxgym.sessions.preconditions import ensure_ended, ensure_not_elsewhere, ensure_state_is_file, name_lock
from fluxgym.sessions.settings_view import changes
from fluxgym.trainers.base import backend_for, backend_named, backend_of_launch, choose_checkpoint
from fluxgym.trainers.named_code import named_code
from fluxgym.trainers.options import train_sh

_CLEARED: State = {"reason": None, "reason_code": None, "exit_code": None, "completed_at": None}


@dataclass(frozen=True, kw_only=True)
class ResumeRequest:
    """What a resume is to do.

    It starts from the named checkpoint, else from the complete one with the most steps, and trains up to `epochs` in total if given. agreed
    holds the class names of the NeedsConsent errors that the user has agreed to.
    """

    from_checkpoint: str | None = None
    epochs: int | None = None
    agreed: Collection[str] = ()


def resume(
    run: RunPaths, *, settings: Settings, from_checkpoint: str | None = None, epochs: int | None = None, agreed: Collection[str] = ()
) -> RunPaths:
    """Resume a run as `resume_planned` does, with a planner of its own."""
    return resume_planned(run, Planner(settings), ResumeRequest(from_checkpoint=from_checkpoint, epochs=epochs, agreed=agreed))


def resume_planned(run: RunPaths, planner: Planner, request: ResumeRequest) -> RunPaths:
    """Resume a run; what the planner has checked before is not checked again.

    Raises:
        NeedsConsent: If the user has to agree to something first.
        AlreadyRunning: While a process of the run is alive.
        NothingToResume: If there is no complete checkpoint, or all steps are done.
    """
    with name_lock(OutputsPaths(run.folder.parent), run.slug):
        return resume_locked(run, planner, request)


def resume_locked(run: RunPaths, planner: Planner, request: ResumeRequest) -> RunPaths:
    """Resume a run as `resume_planned` does; the caller holds the name's lock."""
    if not os.path.lexists(run.ui_state):
        raise SessionNotFound(f"There is no run “{run.slug}”.")
    ensure_state_is_file(run)
    ensure_ended(run)
    ensure_not_elsewhere(run, request.agreed)
    latest = read_launch_spec(run)
    if latest is not None and request.epochs is None and needs_check(RunSnapshot.read(run)):
        clear_stop_request(run)
        engine_of(run).submit(run, latest, Mode.VERIFY_ONLY)
        return run
    state = read_state(run) | ({} if request.epochs is None else {"max_train_epochs": request.epochs})
    checkpoint = choose_checkpoint(run, backend_for(planner.settings.sd_scripts), request.from_checkpoint)
    planned = planner.plan(state, run.dataset, run=run, resume=checkpoint)
    _check_resumable(planned, checkpoint)
    return launch_next_attempt(planned, state, request.agreed)


def launch_next_attempt(planned: TrainingPlan, state: State, agreed: Collection[str]) -> RunPaths:
    """Launch the next attempt of a run, whose state is given, by a plan without errors; the caller holds the name's lock."""
    run = planned.run
    record, latest = read_record(run), read_launch_spec(run)
    before = str(state.get("run_id") or (record.run_id if record else run.slug))
    is_first = has_no_trace_of_trainer(run)
    run_id = secrets.token_hex(8) if is_first and (record or latest) else before  # records of a start without a trainer are not this one's
    gpus = None if latest is None else engine_of(run).devices.chosen_gpus(latest)
    spec = launch_spec(planned, run_id, 1 if is_first else (record.attempt if record else 1) + 1, gpus)
    _check_code(run, spec, agreed, started_as=before)
    write_text(run.dataset_toml, planned.dataset_toml)  # again, so that settings that were edited by hand count
    write_text(run.train_sh, train_sh(spec.argv))
    try_chmod(run.train_sh, 0o755)
    if changes(read_state(run), state) or not (is_first or _ended_before_trainer(run, latest)):
        save_version(run)
    write_launch_spec(run, spec)
    requested = {"timestamp": time.time()} if is_first else {}
    epochs = planned.config.max_train_epochs
    update_state(run, {"status": Status.STARTING, "max_train_epochs": epochs, "run_id": run_id} | requested | _CLEARED)
    return launch(run, spec, "started" if spec.resume_from is None else "resumed")


def has_no_trace_of_trainer(run: RunPaths) -> bool:
    """Return True if no trainer has ever been started in a run's folder, so that its next attempt is its first."""
    record = read_record(run)
    if (record is not None and record.trainer is not None) or run.progress.exists() or run.training_log.exists():
        return False
    return has_no_result(run)


def has_no_result(run: RunPaths) -> bool:
    """Return True if a run has neither a checkpoint, complete or not, nor a LoRA file."""
    return not (run.lora_files() or run.checkpoint_folders())


def _ended_before_trainer(run: RunPaths, latest: LaunchSpec | None) -> bool:
    """Return True if the latest attempt has ended without a trainer, as one that was canceled in the queue."""
    end = read_exit(run)
    if end is None or latest is None or (end.run_id, end.attempt) != (latest.run_id, latest.attempt):
        return False
    return end.started_at is None and end.last_step is None


def _check_resumable(planned: TrainingPlan, checkpoint: Checkpoint) -> None:
    """Raise a FluxGymError if the plan has an error or all of its steps are done."""
    run, steps = planned.run, planned.steps or 0
    if not planned.images.count:
        raise DatasetError(f"The images of {name_of(run)} are gone; put them back into {run.dataset}, then resume.", field="images")
    planned.raise_error()
    if _done(read_exit(run), checkpoint) >= steps:
        epochs = planned.config.max_train_epochs
        raise NothingToResume(
            f"{name_of(run)} has done all its {steps} steps; to train it further, resume it with more than {epochs} epochs."
        )


def _check_code(run: RunPaths, spec: LaunchSpec, agreed: Collection[str], *, started_as: str) -> None:
    """Raise NamesCode if a run names code that this installation has not started it with, and the user has not agreed to that."""
    own = read_own_launch_spec(run)
    started_with = named_code(own) if own is not None and own.run_id == started_as else ()
    pickles = [] if own is None else [phrase for phrase in named_code(spec) if phrase not in named_code(replace(spec, resume_from=None))]
    new = [phrase for phrase in named_code(spec) if phrase not in (*started_with, *pickles)]
    if new and not NamesCode.is_given(agreed):
        raise NamesCode(
            f"{name_of(run)} {' and '.join(new)}, and this installation did not start it so. Continue only if you know that it is safe."
        )


@dataclass(frozen=True, kw_only=True)
class ResumePreview:
    """The checkpoint that a resume would start from, and the time left in seconds, None if the speed is unknown.

    epoch is the number of epochs that were finished; is_epoch_end is True if the checkpoint was saved at the end of the last of them.
    """

    checkpoint: str
    step: int
    epoch: int
    total_steps: int
    left_s: float | None
    is_epoch_end: bool = False
    notice: str = ""

    def message(self) -> str:
        """Return the text that ends a message: "after epoch 4, at step 320 of 960, about 21 min left"; "in epoch 2, at step 9 of 32"."""
        left = "" if self.left_s is None else f", about {duration_text(self.left_s)} left"
        notice = f"; {self.notice}" if self.notice else ""
        return f"{_position(self.epoch, self.step, self.total_steps, is_epoch_end=self.is_epoch_end)}{left}{notice}"


def _position(epoch: int, step: int, total_steps: int, *, is_epoch_end: bool) -> str:
    """Return where a checkpoint was saved, for a number of finished epochs: "after epoch 4, at step 320 of 960"."""
    where = f"after epoch {epoch}" if is_epoch_end else f"in epoch {epoch + 1}"
    return f"{where}, at step {step} of {total_steps or 'an unknown number'}"


def resumed_message(run: RunPaths) -> str:
    """Return from which checkpoint a run has just been resumed, and which newer ones could not be used."""
    spec = read_launch_spec(run)
    if spec is None or spec.resume_from is None:
        return ""
    backend = backend_named(spec.backend)
    used = backend.read_checkpoint(Path(spec.resume_from), verify=False)
    if used is None:
        return ""
    refused = [name for name, at in read_refused(run).items() if run.checkpoint(name).is_dir() and at > used.written_at]
    newer = f" Newer ones are damaged and are not used: {', '.join(sorted(refused))}." if refused else ""
    position = _position(used.epoch, used.step, spec.expected_steps or used.total_steps, is_epoch_end=_is_epoch_end(spec, used))
    waits = read_state_or_empty(run).get("status") == Status.QUEUED
    return f"{'It waits, and then it' if waits else 'It'} resumes from {used.name}: {position}.{newer}"


def needs_check(snapshot: RunSnapshot) -> bool:
    """Return True if a trainer finished unwatched or its check was stopped, so that its result only has to be checked."""
    spec, end = snapshot.latest_launch, snapshot.exit_record
    if spec is None or snapshot.state.get("status") == Status.COMPLETED:
        return False
    has_record = end is not None and (end.run_id, end.attempt) == (spec.run_id, spec.attempt)
    was_stopped = end is not None and end.status == Status.STOPPED and not end.verified
    return (not has_record or was_stopped) and is_unchecked(snapshot.run, spec.attempt)


def resume_preview(snapshot: RunSnapshot) -> ResumePreview | None:
    """Return what a resume would do, None if the run has no settings, no complete checkpoint, or has done all its steps."""
    if not snapshot.state:
        return None
    backend = backend_of_launch(snapshot.latest_launch)
    newest = next(iter(list_complete(snapshot.run, backend)), None)
    if newest is None:
        return None
    total = _total_steps(snapshot, newest)
    if _done(snapshot.exit_record, newest) >= total > 0:
        return None
    speed = (snapshot.last_lines[1] or {}).get("s_per_it")
    left = max(0, total - newest.step)
    return ResumePreview(
        checkpoint=newest.name, step=newest.step, epoch=newest.epoch, total_steps=total, notice=backend.resume_notice(),
        is_epoch_end=_is_epoch_end(snapshot.latest_launch, newest),
        left_s=left * speed if isinstance(speed, (int, float)) and speed > 0 and left else None,
    )  # fmt: skip


def _is_epoch_end(latest: LaunchSpec | None, newest: Checkpoint) -> bool:
    """Return True if a checkpoint was saved at the end of an epoch: by its name, or by the steps per epoch if it is named after a step."""
    named = parse_state_name(newest.name)
    if not newest.epoch or named is None or named.step is None:
        return bool(newest.epoch)
    epochs = latest.max_train_epochs if latest is not None else 0
    return bool(epochs) and newest.step * epochs == newest.epoch * newest.total_steps


def _done(end: ExitRecord | None, newest: Checkpoint) -> int:
    """Return how many steps are done: all of them, after an end that was verified, though the last checkpoint may be older."""
    return (end.last_step or newest.step) if end is not None and end.status == Status.COMPLETED else newest.step


def _total_steps(snapshot: RunSnapshot, newest: Checkpoint) -> int:
    """Return the steps of the whole training: the checkpoint's own, or more or fewer when the epochs were changed since."""
    latest, epochs = snapshot.latest_launch, snapshot.state.get("max_train_epochs")
    try:
        before = latest.max_train_epochs if latest else 0
        now = int(epochs) if epochs is not None else before
    except (ValueError, TypeError, OverflowError):
        return newest.total_steps
    return newest.total_steps * now // before if before > 0 < now else newest.total_steps

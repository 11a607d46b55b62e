"""Resume a run from its newest complete checkpoint, and preview what a resume would do."""

from dataclasses import dataclass

from fluxgym.app_settings import Settings
from fluxgym.config.settings import TrainConfig
from fluxgym.contract.codes import ReasonCode, Status
from fluxgym.dataset.dataset_spec import dataset_toml, expected_steps
from fluxgym.dataset.folder import sizes
from fluxgym.engines.base import Mode
from fluxgym.engines.devices import VISIBLE, are_there, device_request
from fluxgym.engines.registry import engine_of
from fluxgym.errors import DatasetError, FluxGymError, NothingToResume, SessionNotFound, UnreadableState
from fluxgym.models.catalog import find_files, regularization_folder
from fluxgym.runs.checkpoints import Checkpoint, list_complete
from fluxgym.runs.exit_record import read_exit
from fluxgym.runs.files import write_text
from fluxgym.runs.launch_spec import LaunchSpec, clear_stop_request, read_launch_spec, write_launch_spec
from fluxgym.runs.paths import OutputsPaths, RunPaths
from fluxgym.runs.process_identity import read_record
from fluxgym.runs.progress import read_last_training
from fluxgym.runs.state import State, read_state, update_state
from fluxgym.runs.status import is_unchecked
from fluxgym.sessions.history import keep
from fluxgym.sessions.preconditions import ensure_ended, name_lock
from fluxgym.trainers.base import backend_for, backend_of, choose_checkpoint
from fluxgym.trainers.options import train_sh, trainer_argv, trainer_options


def resume(run: RunPaths, *, settings: Settings, from_checkpoint: str | None = None, epochs: int | None = None) -> RunPaths:
    """Let a run go on from its furthest complete checkpoint (or the named one), to `epochs` in all when given.

    Raises AlreadyRunning while anything of it lives, NothingToResume without a checkpoint or when it is finished.
    """
    with name_lock(OutputsPaths(run.folder.parent), run.slug):
        return resume_locked(run, settings=settings, from_checkpoint=from_checkpoint, epochs=epochs)


def resume_locked(run: RunPaths, *, settings: Settings, from_checkpoint: str | None = None, epochs: int | None = None) -> RunPaths:
    """Do what `resume` does; the caller holds the name's lock."""
    if not run.ui_state.is_file():
        raise SessionNotFound(f"There is no run “{run.slug}”.")
    ensure_ended(run)
    order = read_launch_spec(run)
    if order is not None and epochs is None and needs_check(run):
        clear_stop_request(run)
        engine_of(run).submit(run, order, Mode.VERIFY_ONLY)
        return run
    state = read_state(run) | ({} if epochs is None else {"max_train_epochs": epochs})
    config = TrainConfig.from_state(state)
    checkpoint = choose_checkpoint(run, backend_for(settings.sd_scripts), from_checkpoint)
    order = _order(run, config, state, checkpoint, settings)
    keep(run)
    write_launch_spec(run, order)
    update_state(run, {"status": Status.STARTING, "max_train_epochs": config.max_train_epochs, "run_id": order.run_id} | _CLEARED)
    try:
        engine_of(run).submit(run, order)
    except (FluxGymError, OSError) as error:
        update_state(run, {"status": Status.FAILED, "reason_code": ReasonCode.LAUNCH, "reason": f"It could not be resumed: {error}"})
        raise
    return run


_CLEARED: State = {"reason": None, "reason_code": None, "exit_code": None, "completed_at": None}


def _order(run: RunPaths, config: TrainConfig, state: State, checkpoint: Checkpoint, settings: Settings) -> LaunchSpec:
    """Return the next attempt; its files are written again, so that hand-edited settings count."""
    regularization = regularization_folder(config, settings.models)
    images = list(sizes(run.dataset))
    if not images:
        raise DatasetError(f"The images of {run.slug} are gone; put them back into {run.dataset}, then resume.", field="images")
    steps = expected_steps(config, images, list(sizes(regularization)) if regularization else ())
    end = read_exit(run)
    done = end.last_step or 0 if end is not None and end.status == Status.COMPLETED else checkpoint.step
    if done >= steps:
        raise NothingToResume(f"{run.slug} has done all its {steps} steps; to train it further, resume it with more epochs.")
    files = find_files(config.base_model, settings.models)
    argv = trainer_argv(config, run, files, sd_scripts=settings.sd_scripts, resume=checkpoint.folder)
    write_text(run.dataset_toml, dataset_toml(config, run.dataset, regularization))
    write_text(run.train_sh, train_sh(argv))
    record, gpus = read_record(run), _gpus_of(read_launch_spec(run))
    return LaunchSpec(
        run_id=str(state.get("run_id") or (record.run_id if record else run.slug)),
        attempt=(record.attempt if record else 1) + 1,
        backend=backend_for(settings.sd_scripts).name,
        options=trainer_options(config, run, files, resume=checkpoint.folder),
        resume_from=str(checkpoint.folder),
        argv=tuple(argv),
        trainer_dir=str(settings.sd_scripts),
        max_train_epochs=config.max_train_epochs,
        expected_steps=steps,
        monitoring=config.enable_monitoring,
        env={VISIBLE: gpus} if gpus else {},
        devices=device_request(gpus),
    )


def _gpus_of(before: LaunchSpec | None) -> str | None:
    """Return the GPUs that a person chose for the attempt before, None when nobody did or they are not in this machine: then any one will do."""
    gpus = before.env.get(VISIBLE) if before is not None and not before.devices.any_free else None
    return gpus if gpus and are_there(gpus) else None


@dataclass(frozen=True, kw_only=True)
class ResumePreview:
    """From which checkpoint a run would go on, and how much is left. left_s is None when its speed is not known."""

    checkpoint: str
    step: int
    epoch: int
    total_steps: int
    left_s: float | None
    is_exact: bool = True

    def sentence(self) -> str:
        """Say it: "from epoch 4, step 320 of 960, about 21 min left"."""
        epoch = f"epoch {self.epoch}, " if self.epoch else ""
        left = "" if self.left_s is None else f", about {_duration(self.left_s)} left"
        inexact = "" if self.is_exact else "; inexactly: kohya's trainer takes the images in another order than without the stop"
        return f"from {epoch}step {self.step} of {self.total_steps or 'an unknown number'}{left}{inexact}"


def needs_check(run: RunPaths) -> bool:
    """Return True if a trainer finished unwatched or its check was stopped, so that its result only has to be checked."""
    order, end = read_launch_spec(run), read_exit(run)
    if order is None or _state(run).get("status") == Status.COMPLETED:
        return False
    is_told = end is not None and (end.run_id, end.attempt) == (order.run_id, order.attempt)
    was_stopped = end is not None and end.status == Status.STOPPED and not end.verified
    return (not is_told or was_stopped) and is_unchecked(run, order.attempt)


def resume_preview(run: RunPaths) -> ResumePreview | None:
    """Return what Resume would do, None when the run has no settings, left no complete checkpoint or has done all its steps."""
    state = _state(run)
    if not state:
        return None
    newest = next(iter(list_complete(run, backend_of(run))), None)
    if newest is None:
        return None
    total = _total_steps(run, state, newest)
    if _done(run, newest) >= total > 0:
        return None
    speed = (read_last_training(run.progress) or {}).get("s_per_it")
    left = max(0, total - newest.step)
    return ResumePreview(
        checkpoint=newest.name, step=newest.step, epoch=newest.epoch, total_steps=total, is_exact=newest.is_exact,
        left_s=left * speed if isinstance(speed, (int, float)) and speed > 0 and left else None,
    )  # fmt: skip


def _state(run: RunPaths) -> State:
    try:
        return read_state(run)
    except UnreadableState:
        return {}


def _done(run: RunPaths, newest: Checkpoint) -> int:
    """Return how many steps are done: all of them, after an end that was verified, though the last checkpoint may be older."""
    end = read_exit(run)
    return (end.last_step or newest.step) if end is not None and end.status == Status.COMPLETED else newest.step


def _total_steps(run: RunPaths, state: State, newest: Checkpoint) -> int:
    """Return the steps of the whole training: the checkpoint's own, or more or fewer when the epochs were changed since."""
    order, epochs = read_launch_spec(run), state.get("max_train_epochs")
    try:
        before = order.max_train_epochs if order else 0
        now = int(epochs) if epochs is not None else before
    except (ValueError, TypeError, OverflowError):
        return newest.total_steps
    return newest.total_steps * now // before if before > 0 < now else newest.total_steps


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"

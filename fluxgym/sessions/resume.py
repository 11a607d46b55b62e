"""Resume: the furthest complete checkpoint is found, checked, and the same run goes on from it as its next attempt."""

from fluxgym.config.train_config import TrainConfig
from fluxgym.dataset.folder import sizes
from fluxgym.dataset.steps import expected_steps
from fluxgym.dataset.toml import dataset_toml
from fluxgym.errors import DatasetError, FluxGymError, NothingToResume, SessionNotFound
from fluxgym.launch.argv import train_sh, trainer_argv
from fluxgym.launch.checkout import is_foreign
from fluxgym.launch.devices import VISIBLE, are_there, devices_of
from fluxgym.launch.order import LaunchOrder, forget_stop, read_launch, write_launch
from fluxgym.launch.spawn import spawn_supervisor
from fluxgym.models.catalog import find_files, regularisation_folder
from fluxgym.run.atomic import write_text
from fluxgym.run.checkpoints import Checkpoint, choose_checkpoint
from fluxgym.run.exit_record import read_exit
from fluxgym.run.paths import OutputsPaths, RunPaths
from fluxgym.run.process_record import read_record
from fluxgym.run.status import Status
from fluxgym.run.ui_state import State, read_state, update_state
from fluxgym.sessions.history import keep
from fluxgym.sessions.offer import needs_check
from fluxgym.sessions.standing import ensure_ended, name_lock
from fluxgym.settings import Settings


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
    order = read_launch(run)
    if order is not None and epochs is None and needs_check(run):
        forget_stop(run)
        spawn_supervisor(run, order, only="verify")
        return run
    state = read_state(run) | ({} if epochs is None else {"max_train_epochs": epochs})
    config = TrainConfig.from_state(state)
    checkpoint = choose_checkpoint(run, from_checkpoint, exact=not is_foreign(settings.sd_scripts))
    order = _order(run, config, state, checkpoint, settings)
    keep(run)
    write_launch(run, order)
    update_state(run, {"status": "starting", "max_train_epochs": config.max_train_epochs, "run_id": order.run_id} | _CLEARED)
    try:
        spawn_supervisor(run, order)
    except (FluxGymError, OSError) as error:
        update_state(run, {"status": "failed", "reason_code": "launch", "reason": f"It could not be resumed: {error}"})
        raise
    return run


_CLEARED: State = {"reason": None, "reason_code": None, "exit_code": None, "completed_at": None}


def _order(run: RunPaths, config: TrainConfig, state: State, checkpoint: Checkpoint, settings: Settings) -> LaunchOrder:
    """Return the next attempt; its files are written anew, so that hand-edited settings count."""
    regularisation = regularisation_folder(config, settings.models)
    pictures = list(sizes(run.dataset))
    if not pictures:
        raise DatasetError(f"The pictures of {run.slug} are gone; put them back into {run.dataset}, then resume.", field="pictures")
    steps = expected_steps(config, pictures, list(sizes(regularisation)) if regularisation else ())
    end = read_exit(run)
    done = end.last_step or 0 if end is not None and end.status == Status.COMPLETED else checkpoint.step
    if done >= steps:
        raise NothingToResume(f"{run.slug} has done all its {steps} steps; to train it further, resume it with more epochs.")
    files = find_files(config.base_model, settings.models)
    argv = trainer_argv(config, run, files, sd_scripts=settings.sd_scripts, resume=checkpoint.folder)
    write_text(run.dataset_toml, dataset_toml(config, run.dataset, regularisation))
    write_text(run.train_sh, train_sh(argv))
    record, gpus = read_record(run), _gpus_of(read_launch(run))
    return LaunchOrder(
        run_id=str(state.get("run_id") or (record.run_id if record else run.slug)),
        attempt=(record.attempt if record else 1) + 1,
        argv=argv,
        cwd=str(settings.sd_scripts),
        expected_steps=steps,
        monitoring=config.enable_monitoring,
        env={VISIBLE: gpus} if gpus else {},
        devices=devices_of(gpus),
        any_one=not gpus,
        foreign=not checkpoint.is_exact,
    )


def _gpus_of(before: LaunchOrder | None) -> str | None:
    """Return the GPUs that a person chose for the attempt before, None when nobody did or they are not in this machine: then any one will do."""
    gpus = before.env.get(VISIBLE) if before is not None and not before.any_one else None
    return gpus if gpus and are_there(gpus) else None

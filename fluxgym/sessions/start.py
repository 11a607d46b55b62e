"""Start: from settings and images to a running trainer. A run folder appears complete or not at all, and nothing is overwritten."""

import logging
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from fluxgym.app_settings import Settings
from fluxgym.config.settings import TrainConfig
from fluxgym.contract.codes import Status
from fluxgym.contract.files import UI_STATE, archived_name
from fluxgym.contract.volumes import try_chmod
from fluxgym.dataset.dataset_spec import caption_rules
from fluxgym.dataset.folder import copy_for_training
from fluxgym.errors import ConfigError, DatasetError, NameTaken, StorageError, UnreadableState
from fluxgym.planning.plan import Planner, TrainingPlan, plan
from fluxgym.runs.gpus import GPU_NUMBERS
from fluxgym.runs.launch_spec import LaunchSpec, write_launch_spec
from fluxgym.runs.paths import OutputsPaths, RunPaths
from fluxgym.runs.state import State, create_state, read_state
from fluxgym.runs.storage_errors import storage_error
from fluxgym.sessions.create import new_run
from fluxgym.sessions.history import save_version
from fluxgym.sessions.launch import launch, launch_spec
from fluxgym.sessions.origin import is_replaced_by_start, parent_record
from fluxgym.sessions.preconditions import ensure_ended, first_free_run, name_lock
from fluxgym.sessions.removed_runs import ARCHIVED_STATE
from fluxgym.sessions.resume import ResumeRequest, resume_locked
from fluxgym.sessions.waiting import restart_waiting
from fluxgym.trainers.base import backend_for
from fluxgym.trainers.options import train_sh

log = logging.getLogger(__name__)


class IfExists(StrEnum):
    """What Start does if a run has the name already."""

    RESUME = "resume"
    NEW = "new"
    REPLACE = "replace"


@dataclass(frozen=True, kw_only=True)
class StartRequest:
    """What to train: the settings with ui_state.json's keys, the image folder, what to do if the name is taken, and the GPUs ("0,1")."""

    state: Mapping[str, Any]
    images: Path
    if_exists: IfExists | None = None
    gpus: str | None = None


def start(request: StartRequest, settings: Settings) -> RunPaths:
    """Start a training and return its run once its supervisor is running.

    Raises:
        FluxGymError: As `start_plan` does.
    """
    planned = plan(request.state, request.images, settings)
    return start_plan(planned, settings, if_exists=request.if_exists, gpus=request.gpus)


def start_plan(planned: TrainingPlan, settings: Settings, *, if_exists: IfExists | None = None, gpus: str | None = None) -> RunPaths:
    """Start a planned training and return its run once its supervisor is running.

    After an error, no part of the run is left.

    Raises:
        NameTaken: If the name has a run and if_exists is None.
        FluxGymError: The first error of the plan, or why the run cannot be created or started.
    """
    outputs = OutputsPaths(settings.outputs)
    _check_gpus(gpus)
    planned.raise_error(ConfigError, StorageError)
    _make_folder(outputs.root)
    restart_waiting(settings)
    with name_lock(outputs, planned.run.slug):
        run = _resolve_name_conflict(outputs, planned.run.slug, if_exists)
        if run is None:
            return resume_locked(planned.run, Planner(settings), ResumeRequest())
        planned.raise_error()
        planned = planned.relocated(run).with_named_checkpoint()
        return launch(run, _create(planned, outputs, if_exists, gpus), "started")


def _resolve_name_conflict(outputs: OutputsPaths, slug: str, if_exists: IfExists | None) -> RunPaths | None:
    """Return the run to create, or None to resume the existing one.

    An existing run that is replaced stays until the new one is complete.

    Raises:
        NameTaken: If the name has a run and if_exists is None.
    """
    run = outputs.run(slug)
    if not is_name_taken(run):
        ensure_ended(run)
        return run
    if if_exists is None:
        raise NameTaken(
            f"A training named {slug} exists already; choose whether to resume it, to start a new version, or to replace it "
            "(the old one is archived).",
            field="lora_name",
        )
    if if_exists == IfExists.NEW:
        return first_free_run(outputs, slug, first_version=2)
    ensure_ended(run)
    return None if if_exists == IfExists.RESUME else run


def is_name_taken(run: RunPaths) -> bool:
    """Return True if a new run of this name needs a choice first.

    Raises:
        StorageError: If the folder cannot be read.
    """
    return not _is_free(run.folder) and not is_replaced_by_start(run, _state_of(run))


def _is_free(folder: Path) -> bool:
    """Return True if a new run can have this folder: it does not exist, or is empty."""
    try:
        return not os.path.lexists(folder) or (folder.is_dir() and not any(folder.iterdir()))
    except OSError as error:
        raise storage_error(error, folder) from error


def _state_of(run: RunPaths) -> State:
    """Return a run's state, an empty one if it cannot be read."""
    try:
        return read_state(run)
    except UnreadableState:
        return {}


@contextmanager
def _archived(run: RunPaths, outputs: OutputsPaths) -> Iterator[None]:
    """Move a run into the archive for a block that gives its name to another one; after an error in the block it is back."""
    target = outputs.archive / archived_name(run.slug, datetime.now(), secrets.token_hex(2))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        run.folder.rename(target)
    except OSError as error:
        raise storage_error(error, target) from error
    try:
        yield
    except BaseException:
        try:
            target.rename(run.folder)
        except OSError as error:
            log.error("%s could not be put back (%s); put it back with: python -m fluxgym archive restore %s", run.slug, error, target.name)
        raise
    _take_off_the_list(target)


def _take_off_the_list(archived: Path) -> None:
    """Rename an archived run's state, since the guide's find counts and deletes sessions by its name; it can be put back under both names."""
    try:
        if (archived / UI_STATE).exists():
            (archived / UI_STATE).rename(archived / ARCHIVED_STATE)
    except OSError as error:
        log.warning("%s keeps the name of a session's state: %s", archived / UI_STATE, error)


def _create(planned: TrainingPlan, outputs: OutputsPaths, if_exists: IfExists | None, gpus: str | None) -> LaunchSpec:
    """Make the run's folder with everything in it, archive a run that it replaces, and return what to launch."""
    run = planned.run
    spec = launch_spec(planned, secrets.token_hex(8), 1, gpus)
    state = _state_of(run)
    is_copy = is_replaced_by_start(run, state)
    replaces = (if_exists == IfExists.REPLACE or is_copy) and not _is_free(run.folder)
    with new_run(run, outputs, move_existing=_archived(run, outputs) if replaces else None) as staging:
        _copy_images(planned, staging)
        _write_files(staging, planned, spec, parent_record(state) if is_copy else None)
        if replaces:
            save_version(run, into=staging)
    return spec


def _copy_images(planned: TrainingPlan, staging: RunPaths) -> None:
    rules = caption_rules(planned.config, joins_lines=not backend_for(planned.trainer_dir).trains_all_lines)
    count = copy_for_training(planned.images.folder, staging.dataset, rules)
    if count != planned.images.count:
        raise DatasetError("The images changed while the training was being started. Start again.", field="images")


def _write_files(staging: RunPaths, planned: TrainingPlan, spec: LaunchSpec, parent: dict[str, Any] | None) -> None:
    staging.private.mkdir(parents=True)
    staging.dataset_toml.write_text(planned.dataset_toml, encoding="utf-8")
    staging.sample_prompts.write_text(planned.sample_prompts, encoding="utf-8")
    staging.train_sh.write_text(train_sh(spec.argv), encoding="utf-8")
    try_chmod(staging.train_sh, 0o755)
    write_launch_spec(staging, spec)
    create_state(staging, _first_state(planned.config, spec.run_id) | ({"parent": parent} if parent else {}))


def _first_state(config: TrainConfig, run_id: str) -> dict[str, Any]:
    """Return the first ui_state.json: the keys in docs/guide.md, then run_id and, if any differ from the defaults, the advanced settings."""
    state = config.to_state()
    advanced = state.pop("advanced")
    state |= {"timestamp": time.time(), "status": Status.STARTING, "run_id": run_id}
    return state | ({"advanced": advanced} if advanced else {})


def _check_gpus(gpus: str | None) -> None:
    if gpus and not GPU_NUMBERS.fullmatch(gpus):
        raise ConfigError(f"The GPUs are numbers with commas between them, such as 0,1, not “{gpus[:40]}”.", field="gpus")


def _make_folder(outputs: Path) -> None:
    try:
        outputs.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(error, outputs) from error

"""Start: from settings and images to a running trainer. A run's folder appears whole or not at all, and nothing is ever overwritten."""

import errno
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from fluxgym.app_settings import Settings
from fluxgym.config.settings import TrainConfig
from fluxgym.contract.codes import ReasonCode, Status
from fluxgym.contract.files import STATE_FOLDER, UI_STATE
from fluxgym.dataset.dataset_spec import dataset_toml, expected_steps
from fluxgym.dataset.folder import CAPTION, copy_into, sizes
from fluxgym.engines.devices import VISIBLE, device_request
from fluxgym.engines.registry import engine_for, engine_of
from fluxgym.errors import ConfigError, FluxGymError, NameTaken, UnreadableState
from fluxgym.models.catalog import apply_defaults, find_files, regularization_folder
from fluxgym.planning.plan import sample_prompts
from fluxgym.runs.files import check_free_space, storage_error
from fluxgym.runs.launch_spec import LaunchSpec, write_launch_spec
from fluxgym.runs.paths import SHORT_FORM, OutputsPaths, RunPaths
from fluxgym.runs.state import create_state, next_version, read_state, slug_of, update_state
from fluxgym.sessions.history import keep
from fluxgym.sessions.preconditions import ensure_ended, is_name_available, name_lock
from fluxgym.sessions.resume import resume_locked
from fluxgym.trainers.base import TrainerBackend, backend_for
from fluxgym.trainers.options import train_sh, trainer_argv, trainer_options

ARCHIVED_STATE = "state.json"
IfExists = Literal["resume", "new", "replace"]


@dataclass(frozen=True, kw_only=True)
class StartRequest:
    """What is to be trained: ui_state.json's keys, the folder of images, what to do about a taken name, and on which GPUs ("0,1")."""

    state: Mapping[str, Any]
    images: Path
    if_exists: IfExists | None = None
    gpus: str | None = None


def start(request: StartRequest, settings: Settings) -> RunPaths:
    """Start a training and return its folder, once its supervisor watches.

    Raises a FluxGymError with one plain sentence for whatever stands in the way; then nothing of the run is left behind.
    """
    config = TrainConfig.from_state(apply_defaults(request.state, settings.models))
    _check_gpus(request.gpus)
    slug, outputs = slug_of(config.lora_name), OutputsPaths(settings.outputs)
    _check_disk(settings.outputs)
    engine_for(outputs).reconcile()
    with name_lock(outputs, slug):
        run = _resolve_name_conflict(outputs, slug, request.if_exists)
        if run is None:
            return resume_locked(outputs.run(slug), settings=settings)
        order = _build(run, config, request, settings, outputs)
        return _launch(run, order)


def _resolve_name_conflict(outputs: OutputsPaths, slug: str, if_exists: IfExists | None) -> RunPaths | None:
    """Return where the run goes; None when the one that is there shall be resumed. Raises NameTaken when nobody said what to do.

    One that is to be replaced stays until the new one is ready.
    """
    run = outputs.run(slug)
    if _is_free(run.folder) or _is_unstarted_copy(run):
        ensure_ended(run)
        return run
    if if_exists is None:
        raise NameTaken(
            f"A training named {slug} exists already; choose whether to resume it, to start a new version, or to replace it "
            "(the old one is archived).",
            field="lora_name",
        )
    if if_exists == "new":
        numbers = (outputs.run(next_version(slug, number)) for number in range(2, 100_000))
        return next(candidate for candidate in numbers if is_name_available(candidate))
    ensure_ended(run)
    return None if if_exists == "resume" else run


def _is_free(folder: Path) -> bool:
    """Return True if a run may take this place: there is nothing, or an empty folder."""
    try:
        return not os.path.lexists(folder) or (folder.is_dir() and not any(folder.iterdir()))
    except OSError as error:
        raise storage_error(error, folder) from error


def _is_unstarted_copy(run: RunPaths) -> bool:
    """Return True if it is a copy or an import that waits for its first start, which may take its place."""
    return _parent(run) is not None and not any(path.exists() for path in (run.launch, run.progress, run.training_log, run.lora))


def _parent(run: RunPaths) -> dict[str, Any] | None:
    """Return what a run says of the one that it came from."""
    try:
        parent = read_state(run).get("parent")
    except UnreadableState:
        return None
    return parent if isinstance(parent, dict) else None


def _archive(run: RunPaths, outputs: OutputsPaths) -> None:
    target = outputs.archive / f"{run.slug}-{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        run.folder.rename(target)
        if (target / UI_STATE).exists():
            (target / UI_STATE).rename(target / ARCHIVED_STATE)  # no session any more: the guide's find counts and deletes sessions
    except OSError as error:
        raise storage_error(error, target) from error


def _build(run: RunPaths, config: TrainConfig, request: StartRequest, settings: Settings, outputs: OutputsPaths) -> LaunchSpec:
    """Make the run's folder aside and rename it into place; returns what is to be launched."""
    files = find_files(config.base_model, settings.models)
    regularization = regularization_folder(config, settings.models)
    backend, gpus = backend_for(settings.sd_scripts), request.gpus
    checkpoint = _named_checkpoint(config, run, settings.outputs, backend)
    argv = trainer_argv(config, run, files, sd_scripts=settings.sd_scripts, resume=checkpoint)
    toml = dataset_toml(config, run.dataset, regularization)
    staging = RunPaths(outputs.own / "new" / f"{run.slug}-{secrets.token_hex(4)}")
    try:
        extension = str(config.advanced.get("caption_extension", CAPTION))
        copy_into(request.images, staging.dataset, config.concept_sentence, extension=extension)
        steps = expected_steps(config, list(sizes(staging.dataset)), list(sizes(regularization)) if regularization else ())
        order = LaunchSpec(
            run_id=secrets.token_hex(8),
            attempt=1,
            backend=backend.name,
            options=trainer_options(config, run, files, resume=checkpoint),
            resume_from=None if checkpoint is None else str(checkpoint),
            argv=tuple(argv),
            trainer_dir=str(settings.sd_scripts),
            max_train_epochs=config.max_train_epochs,
            expected_steps=steps,
            monitoring=config.enable_monitoring,
            env={VISIBLE: gpus} if gpus else {},
            devices=device_request(gpus),
        )
        own = _is_unstarted_copy(run)
        _write_files(staging, config, toml, order, _parent(run) if own else None)
        if (request.if_exists == "replace" or own) and not _is_free(run.folder):
            keep(run, into=RunPaths(staging.folder))
            _archive(run, outputs)
        _move_into_place(staging, run)
    except OSError as error:
        raise storage_error(error, run.folder) from error
    finally:
        shutil.rmtree(staging.folder, ignore_errors=True)
    return order


def _write_files(staging: RunPaths, config: TrainConfig, toml: str, order: LaunchSpec, parent: dict[str, Any] | None) -> None:
    staging.private.mkdir(parents=True)
    staging.dataset_toml.write_text(toml, encoding="utf-8")
    staging.sample_prompts.write_text(sample_prompts(config), encoding="utf-8")
    staging.train_sh.write_text(train_sh(list(order.argv)), encoding="utf-8")
    staging.train_sh.chmod(0o755)
    write_launch_spec(staging, order)
    create_state(staging, _first_state(config, order.run_id) | ({"parent": parent} if parent else {}))


def _first_state(config: TrainConfig, run_id: str) -> dict[str, Any]:
    """Return the guide's keys, and ours after them; `advanced` only when something differs from the defaults."""
    state = config.to_state()
    advanced = state.pop("advanced")
    state |= {"timestamp": time.time(), "status": Status.STARTING, "run_id": run_id}
    return state | ({"advanced": advanced} if advanced else {})


def _move_into_place(staging: RunPaths, run: RunPaths) -> None:
    try:
        staging.folder.rename(run.folder)  # in place of nothing, or of an empty folder
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise
        raise NameTaken(f"A training named {run.slug} has begun meanwhile; start again.", field="lora_name") from None


def _launch(run: RunPaths, order: LaunchSpec) -> RunPaths:
    try:
        engine_of(run).submit(run, order)
    except (FluxGymError, OSError) as error:
        update_state(run, {"status": Status.FAILED, "reason_code": ReasonCode.LAUNCH, "reason": f"It could not be started: {error}"})
        raise
    return run


def _named_checkpoint(config: TrainConfig, run: RunPaths, outputs: Path, backend: TrainerBackend) -> Path | None:
    """Return the checkpoint that the form names; raises ConfigError when it is no complete one."""
    named = config.resume_from_checkpoint.strip()
    if not named:
        return None
    place = next((place for place in _places(named, run, outputs) if place.is_dir()), None)
    if place is None or backend.read_checkpoint(place, verify=True) is None:
        raise ConfigError(
            f"“{named[:80]}” is no complete checkpoint; name a folder that ends in -state, or leave it empty.",
            field="resume_from_checkpoint",
        )
    if run.folder.resolve() in place.resolve().parents:
        raise ConfigError(
            f"“{named[:80]}” belongs to the run that would be replaced; resume that run, or start a new version.",
            field="resume_from_checkpoint",
        )
    return place.resolve()


def _places(named: str, run: RunPaths, outputs: Path) -> Iterator[Path]:
    """Yield where a named checkpoint may lie: at that path, in the run whose last it is, in one whose epoch or step it is, in this run."""
    yield Path(os.path.expanduser(named))  # noqa: PTH111 (unlike Path's it leaves the home of nobody as it is)
    yield outputs / named
    name = Path(named).name
    yield outputs / name.removesuffix("-state") / name
    yield RunPaths(outputs / STATE_FOLDER.sub("", name)).checkpoint(name)
    if (short := SHORT_FORM.fullmatch(name)) is not None:
        yield RunPaths(outputs / short["slug"]).checkpoint(name)
    yield run.checkpoint(name)


def _check_gpus(gpus: str | None) -> None:
    if gpus and not re.fullmatch(r"\d{1,3}(,\d{1,3})*", gpus):
        raise ConfigError(f"The GPUs are numbers with commas between them, such as 0,1, not “{gpus[:40]}”.", field="gpus")


def _check_disk(outputs: Path) -> None:
    try:
        outputs.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(error, outputs) from error
    check_free_space(outputs)

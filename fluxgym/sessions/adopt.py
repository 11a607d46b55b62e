"""Adopt: the outputs/ and datasets/ of an existing FluxGym or Hardened folder become sessions here. The other folder is only read."""

import secrets
import shutil
import time
from pathlib import Path
from typing import Any

from fluxgym.config.settings import STATE_KEYS
from fluxgym.contract.codes import Status
from fluxgym.contract.files import (
    DATASET_FOLDER,
    DATASET_TOML,
    LORA_ENDING,
    README,
    SAMPLE_FOLDER,
    SAMPLE_PROMPTS,
    TRAIN_SH,
    UI_STATE,
    lora_name,
    with_output_name,
)
from fluxgym.contract.regular_files import copy_regular
from fluxgym.contract.safetensors import read_header
from fluxgym.dataset.folder import ImageFolder, copy_into
from fluxgym.errors import AlreadyRunning, BadName, DatasetError, FluxGymError, SessionNotFound
from fluxgym.runs.disk_space import ensure_free_space
from fluxgym.runs.exit_record import read_exit
from fluxgym.runs.paths import OutputsPaths, RunPaths
from fluxgym.runs.state import State, create_state, read_state, slug_of, timestamp_of
from fluxgym.runs.storage_errors import storage_error
from fluxgym.sessions.create import new_run
from fluxgym.sessions.known_settings import known_settings, usable_settings
from fluxgym.sessions.preconditions import ensure_ended, name_lock

ADOPTED = "Adopted from another FluxGym; its training was not watched here."
COPIED = (TRAIN_SH, DATASET_TOML, SAMPLE_PROMPTS, README)


def adopt(source: Path, outputs: OutputsPaths) -> list[RunPaths]:
    """Make a run of every training in another FluxGym's folder that has none here yet, and return the new runs.

    `source` contains outputs/ (and datasets/), or is an outputs folder itself. In our own outputs, folders without a state get one.

    Raises:
        SessionNotFound: If there is nothing to adopt.
    """
    theirs = source / "outputs" if (source / "outputs").is_dir() else source
    datasets = theirs.parent / "datasets"
    here = theirs.resolve() == outputs.root.resolve()
    adopted = []
    for folder in _folders(theirs):
        if _is_training(folder) and (not here or not (folder / UI_STATE).exists()):
            run = _adopt_one(folder, datasets / folder.name, outputs, here=here)
            adopted += [run] if run else []
    if not adopted:
        raise SessionNotFound(f"There is no training in {theirs} that is not here already.")
    return adopted


def _folders(theirs: Path) -> list[Path]:
    try:
        return sorted(path for path in theirs.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as error:
        raise SessionNotFound(f"{theirs} cannot be read as a folder of trainings: {error.strerror}.") from None


def _is_training(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (UI_STATE, TRAIN_SH, DATASET_TOML)) or any(folder.glob(f"*{LORA_ENDING}"))


def _adopt_one(folder: Path, images: Path, outputs: OutputsPaths, *, here: bool) -> RunPaths | None:
    """Adopt one folder; return None if its name is taken or unusable, or the run of that name is running."""
    try:
        run = RunPaths(folder) if here else outputs.run(slug_of(folder.name))
    except BadName:
        return None
    with name_lock(outputs, run.slug):
        if not here and run.folder.exists():
            return None
        try:
            ensure_ended(run)
        except AlreadyRunning:
            return None
        if here:
            _complete(run, images)
        else:
            with new_run(run, outputs) as staging:
                staging.private.mkdir(parents=True)
                _copy(folder, staging, run.slug)
                _write_state(folder, images, staging)
    return run


def _complete(run: RunPaths, images: Path) -> None:
    """Write what a run in our own outputs lacks: a state, and images if there are some in datasets/."""
    try:
        run.private.mkdir(exist_ok=True)
        _write_state(run.folder, images, run)
    except OSError as error:
        raise storage_error(error, run.folder) from error


def _write_state(folder: Path, images: Path, run: RunPaths) -> None:
    missing = _take_images((folder / DATASET_FOLDER, images), run.dataset)
    create_state(run, _state_of(folder, missing))


def _copy(folder: Path, staging: RunPaths, slug: str) -> None:
    """Copy what a run is made of: models (the trained one under the run's own name), samples and the files to read.

    Links are not followed: in a folder from elsewhere they may lead to any file of this machine.

    Raises:
        StorageError: If there is not enough disk space.
    """
    copies = {model: with_output_name(model.name, folder.name, slug) for model in folder.glob(f"*{LORA_ENDING}")}
    copies |= {sample: f"{SAMPLE_FOLDER}/{sample.name}" for sample in (folder / SAMPLE_FOLDER).glob("*")}
    copies |= {folder / name: name for name in COPIED}
    targets = {path: staging.folder / name for path, name in copies.items() if path.is_file() and not path.is_symlink()}
    ensure_free_space(staging.folder, sum(path.stat().st_size for path in targets))
    for path, target in targets.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        copy_regular(path, target)


def _take_images(sources: tuple[Path, ...], target: Path) -> str:
    """Copy the images and captions of the first folder that has some, unless the run has its own.

    Return the reason if they cannot be copied; "" otherwise.
    """
    source = next((source for source in sources if ImageFolder(source).count()), None)
    if source is None or ImageFolder(target).count():
        return ""
    try:
        copy_into(source, target)
    except DatasetError as error:  # settings and model are adopted without images
        shutil.rmtree(target, ignore_errors=True)
        return f" Its images were left out: {error}"
    return ""


def _state_of(folder: Path, missing: str) -> State:
    """Return the state of an adopted training: settings, time, and its end. An end that was not recorded is derived from the LoRA file."""
    state = known_settings(folder) | usable_settings(_from_state(folder))
    model, end = folder / lora_name(folder.name), read_exit(RunPaths(folder))
    moment = next((path.stat().st_mtime for path in (model, folder / TRAIN_SH, folder) if path.exists()), 0.0)
    own: State = {"timestamp": timestamp_of(state) or moment, "adopted_at": time.time()}
    if end is not None and end.status != Status.COMPLETED:
        ending = {"status": end.status, "reason": end.reason or ADOPTED, "reason_code": end.reason_code, "run_id": end.run_id}
    else:
        steps = (end.last_step or 0, end.last_step or 0) if end is not None else _trained_steps(model)
        status, reason = _ending(model, *steps)
        ending = {"status": status, "reason": reason, "run_id": end.run_id if end is not None else secrets.token_hex(8)}
    return state | own | ending | {"reason": ending["reason"] + missing}


def _ending(model: Path, step: int, expected: int) -> tuple[Status, str]:
    """Return status and reason for a training whose end was not recorded as failed or stopped.

    It is completed only if all steps were trained and its LoRA is complete.
    """
    if not model.is_file():
        return Status.STOPPED, f"{ADOPTED} It has no {model.name}, so it did not reach its last step there."
    fault = _fault(model, step, expected)
    if fault:
        return Status.STOPPED, f"{ADOPTED} Its result is not usable as it is: {fault}."
    if not expected:
        return Status.STOPPED, f"{ADOPTED} {model.name} was read and is whole, but its metadata does not show that all steps were trained."
    return Status.COMPLETED, f"{ADOPTED} All {expected} steps were trained, and {model.name} was read and is whole."


def _trained_steps(model: Path) -> tuple[int, int]:
    """Return the number of trained steps and of planned steps from a LoRA's metadata, (0, 0) if one is missing."""
    try:
        metadata = read_header(model).metadata
        return int(metadata["ss_steps"]), int(metadata["ss_max_train_steps"])
    except (OSError, ValueError, KeyError):
        return 0, 0


def _from_state(folder: Path) -> dict[str, Any]:
    try:
        state = read_state(RunPaths(folder))
    except FluxGymError:
        return {}
    return {key: value for key, value in state.items() if key in (*STATE_KEYS, "timestamp")}


def _fault(model: Path, step: int, expected: int) -> str:
    """Return why a LoRA file does not pass the verification of a completed run, "" if it does."""
    from fluxgym.supervisor.verify_lora import verify_lora  # needs numpy, which nothing else of this command does

    return str(verify_lora(model, 0.0, expected, step)["reason"])

"""Adopt: the outputs/ and datasets/ of an existing FluxGym or Hardened folder become sessions here. The other folder is only read."""

import secrets
import shlex
import shutil
import tomllib
from pathlib import Path
from typing import Any

from fluxgym.config.setting_spec import Emit, Kind
from fluxgym.config.settings import OWN_KEYS, STATE_KEYS, TrainConfig
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
)
from fluxgym.contract.safetensors import read_header
from fluxgym.dataset.folder import ImageFolder, copy_into
from fluxgym.errors import AlreadyRunning, BadName, DatasetError, FluxGymError, SessionNotFound
from fluxgym.runs.exit_record import read_exit
from fluxgym.runs.files import storage_error
from fluxgym.runs.launch_spec import parse_words
from fluxgym.runs.paths import OutputsPaths, RunPaths
from fluxgym.runs.state import State, create_state, read_state, slug_of, timestamp_of
from fluxgym.sessions.preconditions import ensure_ended, name_lock

ADOPTED = "Adopted from another FluxGym; its training was not watched here."
OF_FILES = {"schnell": "flux-schnell", "dev2pro": "flux-dev2pro", "dev": "flux-dev"}
COPIED = (TRAIN_SH, DATASET_TOML, SAMPLE_PROMPTS, README)


def adopt(source: Path, outputs: OutputsPaths) -> list[RunPaths]:
    """Take in every training of another FluxGym's folder that is not here yet; returns the new runs.

    `source` holds outputs/ (and datasets/), or is an outputs folder itself; adopting our own outputs gives its bare folders a state.
    Raises SessionNotFound when there is nothing to adopt.
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
        raise SessionNotFound(f"{theirs} is no folder of trainings that can be read: {error.strerror}.") from None


def _is_training(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (UI_STATE, TRAIN_SH, DATASET_TOML)) or any(folder.glob(f"*{LORA_ENDING}"))


def _adopt_one(folder: Path, images: Path, outputs: OutputsPaths, *, here: bool) -> RunPaths | None:
    """Adopt one folder; None when one of its name is here already or lives, or its name cannot be a folder's here."""
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
        _make(folder, images, run, run if here else RunPaths(outputs.new / f"adopt-{secrets.token_hex(4)}"))
    return run


def _make(folder: Path, images: Path, run: RunPaths, staging: RunPaths) -> None:
    """Write a run of what a folder holds and move it to its name, unless it is there."""
    here = staging == run
    try:
        staging.private.mkdir(parents=True, exist_ok=True)
        if not here:
            _copy(folder, staging, run.slug)
        missing = _take_images((folder / DATASET_FOLDER, images), staging.dataset)
        create_state(staging, _state_of(folder, missing))
        if not here:
            staging.folder.rename(run.folder)
    except OSError as error:
        raise storage_error(error, run.folder) from error
    finally:
        if not here:
            shutil.rmtree(staging.folder, ignore_errors=True)


def _copy(folder: Path, staging: RunPaths, slug: str) -> None:
    """Copy what a run is made of: models (the trained one under the run's own name), samples and the files to read."""
    for model in folder.glob(f"*{LORA_ENDING}"):
        shutil.copy2(model, staging.folder / (slug + model.name[len(folder.name) :] if model.name.startswith(folder.name) else model.name))
    if (folder / SAMPLE_FOLDER).is_dir():
        shutil.copytree(folder / SAMPLE_FOLDER, staging.samples, symlinks=True)
    for name in COPIED:
        if (folder / name).is_file():
            shutil.copy2(folder / name, staging.folder / name)


def _take_images(sources: tuple[Path, ...], target: Path) -> str:
    """Take the images and captions of the first folder that has some, unless the run has its own; returns why that could not be."""
    source = next((source for source in sources if ImageFolder(source).count()), None)
    if source is None or ImageFolder(target).count():
        return ""
    try:
        copy_into(source, target, "")
    except DatasetError as error:  # its settings and model are still worth having
        shutil.rmtree(target, ignore_errors=True)
        return f" Its images were left out: {error}"
    return ""


def _state_of(folder: Path, missing: str) -> State:
    """Return the state of an adopted training: its settings, when it was, and how it ended: as it wrote down itself, else by its model."""
    state = known_settings(folder) | _usable(_from_state(folder))
    model, end = folder / lora_name(folder.name), read_exit(RunPaths(folder))
    moment = next((path.stat().st_mtime for path in (model, folder / TRAIN_SH, folder) if path.exists()), 0.0)
    own: State = {"timestamp": timestamp_of(state) or moment, "status": Status.COMPLETED if _is_sound(model) else Status.STOPPED}
    if end is None:
        return state | own | {"reason": ADOPTED + missing, "run_id": secrets.token_hex(8)}
    if end.status != Status.COMPLETED:
        own["status"] = end.status
    return state | own | {"reason": (end.reason or ADOPTED) + missing, "reason_code": end.reason_code, "run_id": end.run_id}


def known_settings(folder: Path) -> State:
    """Return what a folder's model, command and data set file tell of its settings."""
    state: State = {"lora_name": folder.name}
    for read in (_from_metadata, _from_toml, _from_command, _from_prompts):
        state |= _usable(read(folder))
    return state


def _usable(found: dict[str, Any]) -> dict[str, Any]:
    """Keep only what a config takes, field by field, and as it takes it: 12 and not "12"."""
    kept = {}
    for name, value in found.items():
        try:
            config = TrainConfig.from_state({"lora_name": "x", name: value})
        except FluxGymError:
            continue
        kept[name] = config.to_state().get(name, value)
    return kept


def _from_state(folder: Path) -> dict[str, Any]:
    try:
        state = read_state(RunPaths(folder))
    except FluxGymError:
        return {}
    return {key: value for key, value in state.items() if key in (*STATE_KEYS, "timestamp")}


def _from_command(folder: Path) -> dict[str, Any]:
    """Return the settings whose flags train.sh has; it is split into words as a shell would."""
    try:
        words = shlex.split((folder / TRAIN_SH).read_text(encoding="utf-8").replace("\\\n", " "), comments=True)
    except (OSError, ValueError):
        return {}
    options = parse_words(words)
    found: dict[str, Any] = {}
    for setting in OWN_KEYS:
        if setting.kind is Kind.SWITCH and setting.flag:
            found[setting.name] = setting.flag in options
        elif setting.emit in (Emit.ALWAYS, Emit.IF_TRUE) and (values := options.get(setting.flag)):
            found[setting.name] = values[0]
    base = Path((options.get("--pretrained_model_name_or_path") or ("",))[0]).name.lower()
    return found | next(({"base_model": model} for part, model in OF_FILES.items() if part in base), {})


def _from_toml(folder: Path) -> dict[str, Any]:
    """Return the settings that dataset.toml has."""
    try:
        dataset = tomllib.loads((folder / DATASET_TOML).read_text(encoding="utf-8"))["datasets"][0]
        tables = {Emit.DATASET: dict(dataset), Emit.SUBSET: dict(dataset["subsets"][0])}
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        return {}
    found = {setting.name: tables[setting.emit].get(setting.dataset_key) for setting in OWN_KEYS if setting.emit in tables}
    return {name: value for name, value in found.items() if value is not None}


def _from_prompts(folder: Path) -> dict[str, Any]:
    try:
        return {"sample_prompts": (folder / SAMPLE_PROMPTS).read_text(encoding="utf-8").strip()}
    except (OSError, ValueError):
        return {}


def _from_metadata(folder: Path) -> dict[str, Any]:
    """Return the settings that kohya's trainer wrote into the LoRA file."""
    try:
        metadata = read_header(folder / lora_name(folder.name)).metadata
    except (OSError, ValueError):
        return {}
    found = {setting.name: metadata.get(setting.metadata_key) for setting in OWN_KEYS if setting.metadata_key}
    return {name: value for name, value in found.items() if value not in (None, "None")}


def _is_sound(model: Path) -> bool:
    """Return True if a model's file is whole and holds numbers, as it has to be to be called completed; how it was trained nobody knows."""
    from fluxgym.supervisor.verify_lora import verify_lora  # needs numpy, which nothing else of this command does

    return bool(verify_lora(model, 0.0, 0, 0)["ok"])

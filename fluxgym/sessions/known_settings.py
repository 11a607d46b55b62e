"""The settings of a training folder without a readable ui_state.json, from its LoRA file, train.sh, dataset.toml and sample prompts."""

import shlex
import tomllib
from pathlib import Path
from typing import Any

from fluxgym.config.setting_spec import Emit, Kind
from fluxgym.config.settings import OWN_KEYS, TrainConfig
from fluxgym.contract.files import DATASET_TOML, SAMPLE_PROMPTS, TRAIN_SH, lora_name
from fluxgym.contract.regular_files import read_regular
from fluxgym.contract.safetensors import read_header
from fluxgym.errors import FluxGymError
from fluxgym.runs.launch_spec import parse_words
from fluxgym.runs.state import State

MAX_BYTES = 1 << 20  # of a file of settings
MODELS_BY_FILE = {"schnell": "flux-schnell", "dev2pro": "flux-dev2pro", "dev": "flux-dev"}


def known_settings(folder: Path) -> State:
    """Return the settings that a folder's LoRA file, dataset.toml, train.sh and sample prompts hold; later ones win."""
    state: State = {"lora_name": folder.name}
    for read in (_from_metadata, _from_toml, _from_command, _from_prompts):
        state |= usable_settings(read(folder))
    return state


def usable_settings(found: dict[str, Any]) -> dict[str, Any]:
    """Return the values that TrainConfig accepts, converted to their types: 12 instead of "12"."""
    kept = {}
    for name, value in found.items():
        try:
            config = TrainConfig.from_state({"lora_name": "x", name: value})
        except FluxGymError:
            continue
        kept[name] = config.to_state().get(name, value)
    return kept


def _from_command(folder: Path) -> dict[str, Any]:
    """Return the settings whose flags train.sh has; it is split into words as a shell would."""
    try:
        words = shlex.split(_text(folder / TRAIN_SH).replace("\\\n", " "), comments=True)
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
    return found | next(({"base_model": model} for part, model in MODELS_BY_FILE.items() if part in base), {})


def _from_toml(folder: Path) -> dict[str, Any]:
    """Return the settings that dataset.toml has."""
    try:
        dataset = tomllib.loads(_text(folder / DATASET_TOML))["datasets"][0]
        tables = {Emit.DATASET: dict(dataset), Emit.SUBSET: dict(dataset["subsets"][0])}
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        return {}
    found = {setting.name: tables[setting.emit].get(setting.dataset_key) for setting in OWN_KEYS if setting.emit in tables}
    return {name: value for name, value in found.items() if value is not None}


def _from_prompts(folder: Path) -> dict[str, Any]:
    try:
        return {"sample_prompts": _text(folder / SAMPLE_PROMPTS).strip()}
    except (OSError, ValueError):
        return {}


def _from_metadata(folder: Path) -> dict[str, Any]:
    """Return the settings that kohya's trainer wrote into the LoRA file."""
    try:
        metadata = read_header(folder / lora_name(folder.name), follow_links=False).metadata
    except (OSError, ValueError):
        return {}
    found = {setting.name: metadata.get(setting.metadata_key) for setting in OWN_KEYS if setting.metadata_key}
    return {name: value for name, value in found.items() if value not in (None, "None")}


def _text(path: Path) -> str:
    """Return the text of a regular file of at most MAX_BYTES; raises OSError or ValueError."""
    return read_regular(path, MAX_BYTES).decode("utf-8-sig")

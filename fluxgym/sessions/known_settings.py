"""The settings of a training folder without a readable ui_state.json, from its LoRA file, train.sh, dataset.toml and sample prompts."""

import shlex
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fluxgym.config.setting_spec import Emit, SettingType
from fluxgym.config.settings import DATASET_KEYS, OWN_KEYS, TrainConfig, check_advanced
from fluxgym.config.trainer_flags import SUBSET_FLAGS, all_flags
from fluxgym.config.vram_tiers import TIERS, tier_of
from fluxgym.contract.files import DATASET_TOML, SAMPLE_PROMPTS, TRAIN_SH, lora_name
from fluxgym.contract.regular_files import read_regular
from fluxgym.contract.safetensors import read_header
from fluxgym.dataset.dataset_spec import dataset_toml
from fluxgym.errors import FluxGymError
from fluxgym.models.catalog import model_of_file
from fluxgym.runs.launch_spec import TrainerOptions, parse_words
from fluxgym.runs.paths import RunPaths
from fluxgym.runs.state import State
from fluxgym.trainers.options import FIXED
from fluxgym.trainers.script import SCRIPT

MAX_BYTES = 1 << 20  # of a file of settings
NOT_EXACT = ("lora_name", "base_model", "vram", "sample_prompts", "advanced")  # found by comparison, or completed when they were written
MODELS_BY_NAME = {"schnell": "flux-schnell", "dev2pro": "flux-dev2pro", "dev": "flux-dev"}  # parts of file names that no catalog has


def known_settings(folder: Path) -> State:
    """Return the settings that a folder's LoRA file, dataset.toml, train.sh and sample prompts contain; later sources override earlier ones.

    The base model and the VRAM tier are found by the model's path and the tier's options; other flags become advanced settings.
    """
    state: State = {"lora_name": folder.name}
    advanced: dict[str, Any] = {}
    for read in (_from_metadata, _from_toml, _from_command, _from_prompts):
        settings = usable_settings(read(folder))
        advanced |= settings.pop("advanced", {})
        state |= settings
    return state | ({"advanced": advanced} if advanced else {})


def launched_settings(run: RunPaths, state: State) -> State:
    """Return a live run's state with the settings that it was launched with, as far as its files record them exactly.

    ui_state.json may have been edited since; an edit counts from the next resume on.
    """
    if not run.train_sh.is_file():
        return state
    recorded = known_settings(run.folder)
    return state | {name: value for name, value in recorded.items() if name in state and name not in NOT_EXACT}


def usable_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the values that TrainConfig accepts, converted to their types: 12 instead of "12"."""
    usable = {}
    for name, value in settings.items():
        if name == "advanced" and isinstance(value, Mapping):
            value = {flag: item for flag, item in value.items() if _is_accepted(flag, item)}
        try:
            config = TrainConfig.from_state({"lora_name": "x", name: value})
        except FluxGymError:
            continue
        usable[name] = config.to_state().get(name, value)
    return usable


def _is_accepted(flag: str, value: Any) -> bool:
    try:
        check_advanced(flag, value)
    except FluxGymError:
        return False
    return True


def _from_command(folder: Path) -> dict[str, Any]:
    """Return the settings whose flags train.sh has; it is split into words as a shell would."""
    try:
        words = shlex.split(_text(folder / TRAIN_SH).replace("\\\n", " "), comments=True)
    except (OSError, ValueError):
        return {}
    options = parse_words(_trainer_words(words))
    settings: dict[str, Any] = {}
    for setting in OWN_KEYS:
        if setting.type is SettingType.SWITCH and setting.flag:
            settings[setting.name] = setting.flag in options
        elif setting.emit in (Emit.ALWAYS, Emit.IF_TRUE) and (values := options.get(setting.flag)):
            settings[setting.name] = values[0]
    return settings | _model_and_tier(options) | {"advanced": _other_flags(options)}


def _trainer_words(words: list[str]) -> list[str]:
    """Return the trainer's own words; those before its script are for a launcher, which has flags of the same names."""
    script = next((index for index, word in enumerate(words) if Path(word).name == SCRIPT), None)
    return words if script is None else words[script + 1 :]


def _model_and_tier(options: TrainerOptions) -> dict[str, Any]:
    path = Path((options.get("--pretrained_model_name_or_path") or ("",))[0])
    model = model_of_file(path) or next((model_id for part, model_id in MODELS_BY_NAME.items() if part in path.name.lower()), None)
    settings = {"base_model": model, "vram": tier_of(options)}
    return {name: value for name, value in settings.items() if value is not None}


def _other_flags(options: TrainerOptions) -> dict[str, Any]:
    """Return the options of a command that FluxGym and the tier would not have set, as advanced settings.

    If FluxGym wrote the command, each of FluxGym's switches that the command lacks is False.
    """
    tier = tier_of(options)
    usual: TrainerOptions = {**FIXED, **(TIERS[tier].options if tier else {})}
    other = {flag: values for flag, values in options.items() if flag not in usual or usual[flag] != values}
    settings = {flag.removeprefix("--"): _value(flag.removeprefix("--"), values) for flag, values in other.items()}
    is_fluxgyms = sum(flag in options for flag in FIXED) > len(FIXED) // 2
    missing = [flag for flag, values in FIXED.items() if values is None and flag not in (*options, "--fp8_base")]
    return settings | ({flag.removeprefix("--"): False for flag in missing} if is_fluxgyms else {})


def _value(name: str, values: tuple[str, ...] | None) -> Any:
    """Return an option's value in the type of its flag. A value that does not fit stays text; `usable_settings` leaves it out."""
    flag = all_flags().get(name)
    if flag is None or values is None:
        return True
    if flag.nargs:
        return list(values)
    kinds = {"int": (int,), "float": (float,), "int_or_float": (int, float)}
    for kind in kinds.get(flag.type, ()):
        try:
            return kind(values[0])
        except ValueError:
            continue
    return values[0]


def _from_toml(folder: Path) -> dict[str, Any]:
    """Return the settings in dataset.toml. Keys with the values that FluxGym writes anyway do not become advanced settings."""
    try:
        tables = _tables(tomllib.loads(_text(folder / DATASET_TOML)))
    except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError):
        return {}
    own = {setting.name: tables[setting.emit].get(setting.dataset_key) for setting in OWN_KEYS if setting.emit in tables}
    own = {name: value for name, value in own.items() if value is not None}
    given = tables[Emit.DATASET] | tables[Emit.SUBSET]
    keys = {flag: key for flag, key in (DATASET_KEYS | {flag: flag for flag in SUBSET_FLAGS}).items() if key in given}
    usual = _usual_dataset(usable_settings(own))
    advanced = {flag: given[key] for flag, key in keys.items() if usual.get(key) != given[key]}
    return own | {"advanced": advanced | _regularization(tables[Emit.NEVER])}


def _tables(dataset: dict[str, Any]) -> dict[Emit, dict[str, Any]]:
    """Return dataset.toml's keys by where a setting is emitted.

    DATASET: keys of the first data set. SUBSET: also those of its training images. NEVER: keys of its regularization images, {} if it
    has none.
    """
    first = dict(dataset["datasets"][0])
    subsets = [dict(subset) for subset in first.pop("subsets")]
    own = next((subset for subset in subsets if not subset.get("is_reg")), subsets[0])
    shared = {**dict(dataset.get("general", {})), **first}
    return {Emit.DATASET: shared, Emit.SUBSET: shared | own, Emit.NEVER: next((subset for subset in subsets if subset.get("is_reg")), {})}


def _usual_dataset(own: dict[str, Any]) -> dict[str, Any]:
    """Return the keys that FluxGym writes into dataset.toml for these settings."""
    try:
        tables = _tables(tomllib.loads(dataset_toml(TrainConfig.from_state({"lora_name": "x", **own}), Path("x"))))
    except FluxGymError:
        return {}
    return tables[Emit.DATASET] | tables[Emit.SUBSET]


def _regularization(subset: dict[str, Any]) -> dict[str, Any]:
    folder = subset.get("image_dir")
    return {"reg_data_dir": folder} if isinstance(folder, str) and folder else {}


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
    settings = {setting.name: metadata.get(setting.metadata_key) for setting in OWN_KEYS if setting.metadata_key}
    return {name: value for name, value in settings.items() if value not in (None, "None")}


def _text(path: Path) -> str:
    """Return the text of a regular file of at most MAX_BYTES.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is not UTF-8.
    """
    return read_regular(path, MAX_BYTES).decode("utf-8-sig")

"""The only module of these tests that imports `fluxgym`: it computes with the current code what `recorded/plans.json.gz` holds.

After a move of modules only this file changes. The shapes of the results are those of the recording and must stay.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fluxgym.config.defaults import DEFAULTS
from fluxgym.config.setting_spec import SettingType
from fluxgym.config.settings import SETTINGS, TrainConfig
from fluxgym.config.trainer_flags import all_flags
from fluxgym.contract.progress import is_number
from fluxgym.dataset.dataset_spec import dataset_toml, expected_steps
from fluxgym.errors import FluxGymError
from fluxgym.models.catalog import FoundFiles, apply_defaults, list_models
from fluxgym.planning.plan import TrainingPlan
from fluxgym.planning.sample_prompts import sample_prompts
from fluxgym.planning.start_checks import ImageSet
from fluxgym.runs.paths import RunPaths
from fluxgym.runs.state import slug_of
from fluxgym.sessions.drafts import Draft
from fluxgym.trainers.options import trainer_options
from fluxgym.ui import form_values
from fluxgym.ui.form import component, describe_settings

PROJECT = Path(__file__).parents[2]
FILES = {"transformer": "flux.sft", "ae": "ae.sft", "clip_l": "clip_l.safetensors", "t5xxl": "t5xxl.safetensors"}
IMAGE_SIZES = [(1024, 768), (768, 1024), (512, 512), (640, 480), (1920, 1080), (333, 777), (64, 64)]
REGULARIZATION_SIZES = [(512, 512), (800, 600), (256, 1024)]


def plan(state: dict[str, Any]) -> dict[str, Any]:
    """Return what a training with this state is started with: config, argv, dataset.toml, sample prompts and steps.

    A part that is refused is {"error": [class, field, message]}; without a config there is only that part. Paths are neutral.
    """
    config = _attempt(lambda: TrainConfig.from_state(state))
    if isinstance(config, dict):
        return {"config": config}
    slug = _attempt(lambda: slug_of(config.lora_name))
    run = RunPaths(Path("/outputs") / (slug if isinstance(slug, str) else "unnamed"))
    regularization = Path("/images/regularization") if config.advanced.get("reg_data_dir") else None
    sizes = REGULARIZATION_SIZES if regularization else []
    return {
        "config": config.to_state(),
        "slug": slug,
        "argv": _attempt(lambda: _argv(config, run, None)),
        "argv of a resume": _attempt(lambda: _argv(config, run, run.folder / "cat-000004-state")),
        "dataset.toml": _attempt(lambda: dataset_toml(config, run.dataset, regularization)),
        "sample prompts": _attempt(lambda: sample_prompts(config)),
        "steps": _attempt(lambda: expected_steps(config, IMAGE_SIZES, sizes)),
    }


def _argv(config: TrainConfig, run: RunPaths, checkpoint: Path | None) -> list[str]:
    files = FoundFiles(**{role: Path("/models") / name for role, name in FILES.items()})
    planned = TrainingPlan(
        config=config, run=run, model=None, files=files, images=ImageSet(folder=run.dataset), dataset_toml="", sample_prompts="",
        options=trainer_options(config, run, files), trainer_dir=PROJECT / "sd-scripts", resume_from=None, steps=None,
        problems=(), is_validated_by_trainer=True, are_images_decoded=True,
    )  # fmt: skip
    planned = planned if checkpoint is None else planned.resuming(checkpoint)
    return [word.replace(sys.executable, "@PYTHON@").replace(str(PROJECT), "@PROJECT@") for word in planned.launch_spec().argv]


def _attempt(action: Callable[[], Any]) -> Any:
    """Return the result of an action, or its error in the recorded shape; an error that no user could understand is one of these too."""
    try:
        return action()
    except FluxGymError as error:
        return {"error": [type(error).__name__, error.field, str(error)]}
    except (ValueError, TypeError, ArithmeticError) as error:  # an advanced value that only a later part cannot use
        return {"error": [type(error).__name__, None, str(error)]}


NUMBER_FIELDS = {name for name, setting in SETTINGS.items() if setting.type in (SettingType.INTEGER, SettingType.NUMBER, SettingType.RATE)}


def form_of(state: dict[str, Any]) -> dict[str, Any]:
    """Return what the form shows for a state, the state that it gives back, and the message beside each field.

    The form shows numbers as text; they are returned as the recorded code showed them.
    """
    shown = _attempt(lambda: form_values.from_state(state))
    if "error" in shown:
        return {"shown": shown}
    back, errors = form_values.to_state(shown)
    return {"shown": {name: _as_recorded(name, value) for name, value in shown.items()}, "state": back, "errors": errors}


def _as_recorded(name: str, value: Any) -> Any:
    """Return a field's value as the recorded code showed it: a number, None if it is not one, where the field is a text box now."""
    if SETTINGS[name].type not in (SettingType.INTEGER, SettingType.NUMBER):
        return value
    try:
        number = float(value)
    except ValueError:
        return None
    return int(number) if number.is_integer() and is_number(number) else number


def filled(state: dict[str, Any]) -> dict[str, Any]:
    """Return a state after the defaults of its model were filled in, as Start does."""
    return _attempt(lambda: apply_defaults(state, PROJECT / "models"))


def flags() -> dict[str, dict[str, Any]]:
    """Return the trainer's flags by name, with what decides whether a value of them is accepted."""
    names = ("type", "default", "choices", "nargs", "minimum", "support")
    found = {flag.name: {name: getattr(flag, name) for name in names} for flag in all_flags().values()}
    for flag in found.values():
        flag["support"] = {"honored": "honoured"}.get(flag["support"], flag["support"])  # as it was spelled in the recording
    return found


def model_defaults() -> dict[str, Any]:
    """Return the settings that each known model brings."""
    return {model.id: dict(model.defaults) for model in list_models(PROJECT / "models")}


WORDS = ("label", "info", "placeholder")


def form_fields() -> list[dict[str, Any]]:
    """Return the fields in the form's order: component, choices, default, range, and the words apart from these."""
    defaults = form_values.from_state(DEFAULTS)
    return [_form_field(entry, defaults) for entry in SETTINGS.values()]


def _form_field(entry: Any, defaults: dict[str, Any]) -> dict[str, Any]:
    made = component(entry)
    config = made.get_config()
    low, high = (entry.minimum, entry.maximum) if entry.type is SettingType.INTEGER else (None, None)
    return {
        "name": entry.name, "id": config["elem_id"], "classes": config["elem_classes"], "component": made.get_block_name(),
        "part": entry.group, "in advanced": entry.in_advanced, "beside": entry.beside, "flag": entry.flag,
        "choices": [value for _, value in config.get("choices", [])], "default": _as_recorded(entry.name, defaults[entry.name]), "min": low, "max": high,
        "value": config.get("value"), "lines": [config.get("lines"), config.get("max_lines")], "custom": config.get("allow_custom_value"),
        "words": {name: config.get(name) for name in WORDS} | {"help": entry.help, "choices": [label for label, _ in config.get("choices", [])]},
    }  # fmt: skip


def draft_form(folder: Path) -> dict[str, Any]:
    """Return the form that a draft keeps, and how many images it has."""
    draft = Draft(folder)
    return {"form": draft.read_form(), "images": draft.images.count()}


def flags_beside_fields() -> dict[str, str]:
    """Return the trainer's flag that the page shows beside each field, "" for none."""
    return {name: row.flag for name, row in describe_settings().items()}


def fields_without_their_value(state: dict[str, Any]) -> set[str]:
    """Return the fields that do not show a state's value as it is: none can, or a switch holds something else than true or false."""
    advanced = state.get("advanced")
    values = (advanced if isinstance(advanced, dict) else {}) | state
    switches = {
        name for name, row in SETTINGS.items() if row.type is SettingType.SWITCH and name in values and not isinstance(values[name], bool)
    }
    unfit = form_values.unfit(state)
    return switches | {name for name, row in SETTINGS.items() if row.label in unfit}

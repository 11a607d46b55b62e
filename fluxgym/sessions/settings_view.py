"""A run's settings with the labels and texts of the form, and how they differ from other ones."""

import shlex
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fluxgym.config.defaults import DEFAULTS, shown_value, when_empty
from fluxgym.config.setting_spec import SettingType
from fluxgym.config.settings import IN_ADVANCED, SETTINGS
from fluxgym.config.trainer_flags import all_flags
from fluxgym.errors import ConfigError, FluxGymError
from fluxgym.models.catalog import get_model
from fluxgym.runs.state import State

NOT_SET = "not set"
UNCOMPARED = ("lora_name", "concept_sentence", "base_model", "sample_prompts", "resume_from_checkpoint")  # they have no useful default


@dataclass(frozen=True, kw_only=True)
class ViewedSetting:
    """A setting of a run; default and parent are the model's default and the value in the parent, None if they are equal."""

    name: str
    label: str
    value: str
    default: str | None
    parent: str | None


@dataclass(frozen=True, kw_only=True)
class SettingChange:
    """A setting that differs between two states, with the values of both; None for one that is not set."""

    name: str
    before: Any
    after: Any


def view_settings(state: State, parent: State | None, models: Path) -> list[ViewedSetting]:
    """Return a run's settings; one that differs from its model's default, or from its parent, names the other value."""
    defaults = _model_defaults(state, models)
    own, before = settings_of(state), None if parent is None else settings_of(parent)
    rows = []
    for name, value in own.items():
        default = defaults.get(name, _default(name))
        other = value if before is None else before.get(name, _default(name))
        rows.append(
            ViewedSetting(
                name=name,
                label=label_of(name),
                value=shown_text(name, value, models),
                default=None if name in UNCOMPARED or _is_same(value, default) else shown_text(name, default, models),
                parent=None if name == "lora_name" or _is_same(value, other) else shown_text(name, other, models),
            )
        )
    return rows


def settings_of(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a state by name in the order of the form, those in `advanced` beside the others."""
    advanced = state.get("advanced")
    values = {name: state[name] for name in SETTINGS if name in DEFAULTS and name in state}
    more = dict(advanced) if isinstance(advanced, Mapping) else {}
    in_order = [setting.name for setting in IN_ADVANCED if setting.name in more]
    return values | {name: more[name] for name in in_order} | more


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[SettingChange]:
    """Return the settings in which two states differ, in the order of the form."""
    old, new = settings_of(before), settings_of(after)
    names: Iterable[str] = dict.fromkeys((*new, *old))
    settings = (SettingChange(name=name, before=old.get(name), after=new.get(name)) for name in names)
    return [change for change in settings if change.before != change.after and not _are_empty(change.before, change.after)]


def label_of(name: str) -> str:
    """Return the form's label of a setting; a trainer flag without a field is labeled as on the command line."""
    return SETTINGS[name].label if name in SETTINGS else f"--{name}"


def shown_text(name: str, value: Any, models: Path) -> str:
    """Return a setting's value as text, as in the form: the label of a choice, the title of a model, "on" and "off" for a switch."""
    if value in (None, ""):
        return NOT_SET
    setting = SETTINGS.get(name)
    if setting is not None and setting.type is SettingType.SWITCH:
        with suppress(ConfigError):
            value = setting.parse(value)
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, list):
        return shlex.join(map(str, value))
    if name == "base_model":
        return model_title(str(value), models)
    if setting is None or setting.type is SettingType.SWITCH:
        return str(value)
    labels = {choice.value: choice.label or choice.value for choice in setting.choices}
    return labels.get(str(value)) or str(shown_value(setting, value))


def model_title(model_id: str, models: Path) -> str:
    """Return the short title of a base model, its id if the catalog does not have it."""
    try:
        return get_model(model_id, models).short_title
    except FluxGymError:
        return model_id


def _default(name: str) -> Any:
    """Return a setting's default: FluxGym's, for the flags in `advanced` the trainer's own."""
    if name in DEFAULTS:
        return DEFAULTS[name]
    return when_empty(name) if name in all_flags() else None


def _model_defaults(state: State, models: Path) -> dict[str, Any]:
    try:
        return settings_of(get_model(str(state.get("base_model") or ""), models).defaults)
    except FluxGymError:
        return {}


def _is_same(value: Any, other: Any) -> bool:
    return value == other or str(value) == str(other) or _are_empty(value, other)


def _are_empty(value: Any, other: Any) -> bool:
    """Return True if neither of two values is set."""
    return value in (None, "") and other in (None, "")

"""Between the form and ui_state.json: the fields' values as a state, a state as the fields' values, and the errors by field."""

import json
import math
import shlex
from collections.abc import Mapping
from typing import Any

from fluxgym.config.defaults import DEFAULTS, shown_value
from fluxgym.config.setting_spec import SettingType
from fluxgym.config.settings import IN_ADVANCED, OTHER_FLAGS, SETTINGS, check_advanced
from fluxgym.config.trainer_flags import all_flags
from fluxgym.errors import ConfigError
from fluxgym.runs.state import State
from fluxgym.ui.api.answers import FieldValue

NUMBERS = (SettingType.INTEGER, SettingType.NUMBER)
FormValues = dict[str, FieldValue]  # by the name of the field
Errors = dict[str, str]  # error messages by the name of the field
ADVANCED_NAMES = tuple(setting.name for setting in IN_ADVANCED)


def to_state(typed: FormValues, defaults: Mapping[str, Any] = DEFAULTS) -> tuple[State, Errors]:
    """Return ui_state.json's keys for what the fields hold, and an error message for each field whose content is not a value of it.

    defaults are those of the base model, which the messages about empty fields name.
    """
    errors: Errors = {}
    state = {name: _plain(name, value, defaults.get(name), errors) for name, value in typed.items() if name in DEFAULTS}
    advanced = {name: value for name in ADVANCED_NAMES if (value := _advanced(name, typed[name], errors)) is not None}
    for name, value in advanced.items():
        if name not in errors:
            _check(name, value, name, errors, _as_typed(typed[name]))
    state["advanced"] = advanced | _other_flags(str(typed[OTHER_FLAGS] or ""), errors)
    return state, errors


def _plain(name: str, value: FieldValue, default: Any, errors: Errors) -> Any:
    """Return the value of a field of ui_state.json's own keys; a number field that is empty is an error."""
    setting = SETTINGS[name]
    is_empty = value is None or str(value).strip() == ""
    if is_empty and setting.type in (*NUMBERS, SettingType.RATE):
        errors[name] = str(setting.empty(shown_value(setting, default or setting.default or None)))
    if setting.type not in NUMBERS:
        return "" if value is None else value
    if is_empty:
        return None
    number = _number(name, value, errors)
    if name not in errors and _as_typed(value) not in (None, str(number)):  # the plan's message would quote the number in another notation
        try:
            setting.check(number, typed=_as_typed(value))
        except ConfigError as error:
            errors[name] = str(error)
    return number


def _as_typed(value: FieldValue) -> str | None:
    return value.strip() if isinstance(value, str) else None


def _number(name: str, value: FieldValue, errors: Errors) -> Any:
    """Return a typed number; what is not one stays as typed, and its field is named."""
    try:
        return SETTINGS[name].parse(value.strip() if isinstance(value, str) else value)
    except ConfigError as error:
        errors[name] = str(error)
        return value


def _advanced(name: str, value: FieldValue, errors: Errors) -> Any:
    """Return the value of one of the table's advanced flags, None when it is the default."""
    setting = SETTINGS[name]
    if setting.type is SettingType.SWITCH:
        return value if isinstance(value, bool) and value is not setting.default else None
    if value is None or str(value).strip() == "":
        return None
    number = _number(name, value, errors) if setting.type in NUMBERS else value
    whole = isinstance(number, float) and number.is_integer() and all_flags()[name].type == "int"
    return int(number) if whole else number


def _check(name: str, value: Any, field: str, errors: Errors, typed: str | None) -> None:
    try:
        check_advanced(name, value, typed=typed)
    except ConfigError as error:
        errors.setdefault(field, str(error))


def _other_flags(text: str, errors: Errors) -> State:
    """Read `name = value` lines; the first line that cannot be read or used is named. Two lines of a flag with several values are joined."""
    flags: State = {}
    for line in text.splitlines():
        name, equals, value = (part.strip() for part in line.partition("="))
        name = name.removeprefix("--")
        if not name:
            continue
        parsed, earlier = _parsed(name, value) if equals else True, flags.get(name)
        if isinstance(earlier, list) and isinstance(parsed, list):
            parsed = earlier + parsed
        elif name in flags:
            errors.setdefault(OTHER_FLAGS, f"“{name}” is given twice. Keep one of the lines.")
        flags[name] = parsed
        _check(name, flags[name], OTHER_FLAGS, errors, value if isinstance(flags[name], (int, float)) and equals else None)
    return flags


def _parsed(name: str, text: str) -> Any:
    """Return a flag's typed value in the flag's own kind, a list for a flag with several; what does not fit stays text, to be refused by name."""
    flag = all_flags().get(name)
    kind = flag.type if flag else ""
    if flag is None or not flag.nargs:
        return _value_of(kind, text)
    try:
        return [_value_of(kind, each) for each in _several(text)]
    except ValueError:
        return text


def _several(text: str) -> list[str]:
    """Split the values of a flag: words, some of them in quotes, or a JSON array.

    Raises:
        ValueError: If a quote is not closed.
    """
    try:
        listed = json.loads(text)
    except (ValueError, RecursionError):
        listed = None
    return [str(each) for each in listed] if isinstance(listed, list) else shlex.split(text)


def _value_of(kind: str, text: str) -> Any:
    if kind == "str":
        return text.strip("\"'")
    try:
        return json.loads(text.lower() if text.lower() in ("true", "false") else text)
    except (ValueError, RecursionError):
        return text


def from_state(state: Mapping[str, Any]) -> dict[str, str | bool]:
    """Return what the fields show for a state; a setting that is missing is shown with its default."""
    advanced = state.get("advanced")
    advanced = dict(advanced) if isinstance(advanced, Mapping) else {}
    shown = {name: _shown(name, state.get(name)) for name in SETTINGS if name in DEFAULTS}
    for name in ADVANCED_NAMES:
        shown[name] = _fitting(name, advanced.pop(name, SETTINGS[name].default))
    shown[OTHER_FLAGS] = "\n".join(f"{name} = {_written(value)}" for name, value in advanced.items())
    return shown


def retyped(typed: FormValues, before: State, after: State) -> FormValues:
    """Return the fields after their state has changed; a field whose value is the same stays exactly as it was typed, "007" for example."""
    old, new = from_state(before), from_state(after)
    return {name: new[name] if name in new and new[name] != old[name] else value for name, value in typed.items()}


def _shown(name: str, value: Any) -> str | bool:
    return _fitting(name, DEFAULTS[name] if value is None else value)


def _fitting(name: str, value: Any) -> str | bool:
    """Return a state's value as its field shows it; what the field cannot show becomes the default, and `unfit` names it."""
    if not _can_show(name, value):
        value = DEFAULTS.get(name, SETTINGS[name].default)
    elif SETTINGS[name].type is SettingType.SWITCH and value is not None:
        value = SETTINGS[name].parse(value)
    return shown_value(SETTINGS[name], value)


def _can_show(name: str, value: Any) -> bool:
    """Return True if a field can show a state's value as it is."""
    setting = SETTINGS[name]
    if value is None or setting.type is SettingType.SWITCH:
        try:
            return value is None or isinstance(setting.parse(value), bool)
        except ConfigError:
            return False
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, (str, int)) and not isinstance(value, bool)


def unfit(state: Mapping[str, Any]) -> list[str]:
    """Return the labels of the settings whose value in a state their fields cannot show."""
    advanced = state.get("advanced")
    values = {name: state.get(name) for name in SETTINGS if name in DEFAULTS}
    values |= {name: advanced.get(name) for name in ADVANCED_NAMES} if isinstance(advanced, Mapping) else {}
    labels = [SETTINGS[name].label for name, value in values.items() if not _can_show(name, value)]
    return labels if advanced is None or isinstance(advanced, Mapping) else [*labels, "Advanced"]


def field_values(values: object) -> FormValues:
    """Return the values, by field, that a field of the form can hold; all others are left out. They come from a browser or a file."""
    named = values.items() if isinstance(values, Mapping) else ()
    return {name: value for name, value in named if name in SETTINGS and is_typed(name, value)}


def is_typed(name: str, value: Any) -> bool:
    """Return True if a value is one that the field of this name can hold."""
    return isinstance(value, bool) if SETTINGS[name].type is SettingType.SWITCH else value is None or isinstance(value, str)


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return shlex.join(map(str, value)) if isinstance(value, list) else str(value)


def usable(state: State, errors: Errors) -> State:
    """Return a state without the fields that have an error and without the advanced settings that cannot be used."""
    advanced = {name: value for name, value in state["advanced"].items() if _is_usable(name, value)}
    return {name: value for name, value in state.items() if name not in errors} | {"advanced": advanced}


def _is_usable(name: str, value: Any) -> bool:
    try:
        check_advanced(name, value)
    except ConfigError:
        return False
    return True

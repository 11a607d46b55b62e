"""docs/settings.md, made from the settings table: `python -m fluxgym.config.settings_docs > docs/settings.md`."""

import sys
from collections.abc import Iterable

from fluxgym.config.setting_spec import Group, Setting, SettingType
from fluxgym.config.settings import ROWS
from fluxgym.config.values import MAX_RATE, MIN_RATE

INTRODUCTION = """# Settings

Every setting of a training: its label in the form, its key in `ui_state.json`, the trainer's flag, its values and what it does.
Keys marked with * are in the table `advanced` of `ui_state.json`, which can hold any other flag of the trainer too; see
[trainer-flags.md](trainer-flags.md).

This file is generated from `fluxgym/config/settings.py`. Write it again with `python -m fluxgym.config.settings_docs > docs/settings.md`.
"""
TITLES = {Group.LORA: "LoRA", Group.ADVANCED: "Advanced"}
HEAD = "| label | key | flag | values | default | |\n|---|---|---|---|---|---|\n"
VALUES = {
    SettingType.SWITCH: "true or false",
    SettingType.RATE: f"a number, {MIN_RATE:g} to {MAX_RATE}",
    SettingType.INTEGER: "a whole number",
    SettingType.NUMBER: "a number",
}


def document(settings: Iterable[Setting] = ROWS) -> str:
    """Return the text of docs/settings.md."""
    rows = list(settings)
    sections = (f"\n## {title}\n\n{HEAD}" + "".join(_row(row) for row in rows if row.group is group) for group, title in TITLES.items())
    return INTRODUCTION + "".join(sections)


def _row(setting: Setting) -> str:
    key = f"`{setting.name}`{'*' * setting.in_advanced}"
    cells = (setting.label, key, _code(setting.flag), _values(setting), _default(setting), setting.help)
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |\n"


def _values(setting: Setting) -> str:
    if setting.minimum is not None and setting.maximum is not None:
        return f"{VALUES[setting.type]} from {setting.minimum:g} to {setting.maximum:.16g}"
    if setting.choices:
        return ", ".join(f"`{choice.value}`" for choice in setting.choices if choice.value)
    return VALUES.get(setting.type, "text")


def _default(setting: Setting) -> str:
    return (
        ""
        if setting.default in (None, "")
        else f"`{str(setting.default).lower()}`"
        if setting.type is SettingType.SWITCH
        else _code(setting.default)
    )


def _code(value: object) -> str:
    return f"`{value}`" if value != "" else ""


if __name__ == "__main__":
    sys.stdout.write(document())

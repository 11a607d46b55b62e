"""The form's Gradio components, made from the rows of the settings table."""

import json
from typing import Any

import gradio as gr
from gradio.components import Component

from fluxgym.config.defaults import shown_value
from fluxgym.config.setting_spec import Group, Section, Setting, SettingType
from fluxgym.config.settings import SETTINGS
from fluxgym.ui.api.answers import FieldText

NAMES = tuple(SETTINGS)
# Runs in the browser after each answer; Gradio passes the answer and the fields' present values. `patched` is in assets/form_patch.js. It is called
# without an import, since after an `await` a keystroke could come between reading and writing.
APPLY_PATCH = f"(answer, ...present) => fluxgymForm.patched({json.dumps(NAMES)}, answer, present)"
CSS_KINDS = {SettingType.INTEGER: "number", SettingType.RATE: "number", SettingType.SWITCH: "check"}


def elem_id(name: str) -> str:
    """Return the id of a field's element in the page."""
    return f"field-{name}"


def rows_of(group: Group) -> list[Setting]:
    """Return the settings of a part of the form in its order: Advanced is sorted by groups."""
    rows = [row for row in SETTINGS.values() if row.group is group]
    order = list(Section)
    return sorted(rows, key=lambda row: order.index(row.section) if row.section else 0)


def describe_settings() -> dict[str, FieldText]:
    """Return what the page shows around each field: label, help, the trainer's flag, and the group of those in Advanced."""
    return {
        row.name: FieldText(label=row.label, help=row.help, flag=row.flag, section=row.section or "")
        for group in Group
        for row in rows_of(group)
    }  # fmt: skip


def options_of(setting: Setting) -> list[tuple[str, str]]:
    """Return the (label, value) pairs of a setting's own choices."""
    return [(choice.label or choice.value, choice.value) for choice in setting.choices]


def component(setting: Setting, choices: list[tuple[str, str]] | None = None) -> Component:
    """Return the Gradio component of a setting; choices are (label, value) pairs in place of the setting's own."""
    common: dict[str, Any] = {
        "label": setting.label,
        "elem_id": elem_id(setting.name),
        "elem_classes": ["fg-field", f"fg-kind-{CSS_KINDS.get(setting.type, setting.type)}"],
    }
    options = choices or options_of(setting)
    match setting.type:
        case SettingType.SWITCH:
            return gr.Checkbox(value=bool(setting.default), **common)
        case SettingType.CHOICE:
            return gr.Dropdown(options, value=None, allow_custom_value=True, **common)
    # Numbers are text boxes: gr.Number reads "3,5" as 35, drops what it cannot read, and shows an empty field as 0.
    lines: dict[str, Any] = {"lines": 2, "max_lines": 8} if setting.type is SettingType.LINES else {"lines": 1, "max_lines": 1}
    return gr.Textbox(value=str(shown_value(setting, setting.default)), placeholder=setting.placeholder or None, **lines, **common)

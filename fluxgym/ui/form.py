"""The form's Gradio components, made from the rows of the settings table."""

from typing import Any

import gradio as gr
from gradio.components import Component

from fluxgym.config.setting_spec import Kind, Setting
from fluxgym.config.settings import SETTINGS

NAMES = tuple(SETTINGS)
NUMBERS = (Kind.INTEGER, Kind.NUMBER)
CSS_KINDS = {Kind.INTEGER: "number", Kind.RATE: "text", Kind.SWITCH: "check"}


def elem_id(name: str) -> str:
    """Return the id of a field's element in the page."""
    return f"field-{name}"


def component(setting: Setting, choices: list[tuple[str, str]] | None = None) -> Component:
    """Return the Gradio component of a setting; choices are (label, value) pairs in place of the setting's own."""
    common: dict[str, Any] = {
        "label": setting.label,
        "info": setting.flag or None,
        "elem_id": elem_id(setting.name),
        "elem_classes": ["fg-field", f"fg-kind-{CSS_KINDS.get(setting.kind, setting.kind)}"],
    }
    options = choices or [(choice.label or choice.value, choice.value) for choice in setting.choices]
    match setting.kind:
        case Kind.INTEGER | Kind.NUMBER:
            return gr.Number(value=None, **common)
        case Kind.SWITCH:
            return gr.Checkbox(value=False, **common)
        case Kind.RADIO:
            return gr.Radio(options, value=None, **common)
        case Kind.CHOICE:
            return gr.Dropdown(options, value=None, allow_custom_value=True, **common)
    lines: dict[str, Any] = {"lines": 2, "max_lines": 8} if setting.kind is Kind.LINES else {"lines": 1, "max_lines": 1}
    return gr.Textbox(value="", placeholder=setting.placeholder or None, **lines, **common)

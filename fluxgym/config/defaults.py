"""The settings' defaults, and how a value is shown. The page's form and its JSON API use both; this module does not import Gradio."""

from typing import Any

from fluxgym.config.setting_spec import Setting, SettingType
from fluxgym.config.settings import TrainConfig
from fluxgym.config.trainer_flags import all_flags
from fluxgym.contract.progress import is_number

DEFAULTS = TrainConfig(lora_name="unnamed").to_state() | {"lora_name": ""}


def when_empty(name: str) -> Any:
    """Return the value that an advanced setting has when the user empties its field: True for a switch, else the trainer's default."""
    flag = all_flags()[name]
    if flag.type == "flag":
        return True
    return "" if flag.default is None else flag.default


def shown_value(setting: Setting, value: Any) -> str | bool:
    """Return a value as its field shows it: switches as they are, everything else as text; "" for None."""
    if setting.type is SettingType.SWITCH:
        return value is True
    if isinstance(value, float) and value.is_integer() and is_number(value):
        value = int(value)
    return "" if value is None else str(value)

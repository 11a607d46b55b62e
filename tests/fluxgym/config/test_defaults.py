"""Defaults, emptied fields and shown values."""

import pytest

from fluxgym.config.defaults import DEFAULTS, shown_value, when_empty
from fluxgym.config.settings import OWN_KEYS, SETTINGS


def test_defaults_have_keys_of_table_and_no_name():
    assert DEFAULTS["lora_name"] == ""
    assert {setting.name for setting in OWN_KEYS} <= DEFAULTS.keys()


@pytest.mark.parametrize(
    ("name", "value"), [("enable_bucket", True), ("network_alpha", 1), ("lr_scheduler", "constant"), ("reg_data_dir", "")]
)
def test_emptied_advanced_field_means_trainers_default(name, value):
    assert when_empty(name) == value


@pytest.mark.parametrize(("name", "value", "shown"), [
    ("network_dim", 4, "4"), ("network_dim", 4.0, "4"), ("learning_rate", "8e-4", "8e-4"), ("seed", None, ""),
    ("enable_checkpointing", "yes", False), ("enable_checkpointing", True, True), ("guidance_scale", 3.5, "3.5"),
    ("guidance_scale", float("inf"), "inf"),
])  # fmt: skip
def test_value_is_formatted_as_in_its_field(name, value, shown):
    assert shown_value(SETTINGS[name], value) == shown

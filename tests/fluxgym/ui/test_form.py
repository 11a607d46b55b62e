"""The table of fields holds every setting of ui_state.json, with FluxGym's words and the trainer's flags."""

from dataclasses import fields

import pytest

from fluxgym.config.labels import LABELS
from fluxgym.config.settings import TIMESTEP_SAMPLINGS, TrainConfig
from fluxgym.config.trainer_flags import all_flags
from fluxgym.config.vram_tiers import TIERS
from fluxgym.errors import ConfigError
from fluxgym.ui.form import BY_NAME, FIELDS, OTHER_FLAGS, component
from library.optim.schedules import SCHEDULES


def test_the_table_holds_exactly_the_configs_settings():
    own = {entry.name for entry in FIELDS if not entry.is_advanced and entry.name != OTHER_FLAGS}
    assert own == {entry.name for entry in fields(TrainConfig)} - {"advanced"}


def test_advanced_fields_are_flags_of_the_trainer_by_their_own_name():
    for entry in FIELDS:
        if entry.is_advanced:
            assert entry.name in all_flags()
            assert entry.flag == f"--{entry.name}"


def test_choices_are_the_configs():
    assert set(BY_NAME["vram"].choices) == set(TIERS)
    assert set(BY_NAME["timestep_sampling"].choices) == set(TIMESTEP_SAMPLINGS)
    assert set(BY_NAME["lr_scheduler"].choices) - {""} <= set(SCHEDULES)


def test_a_sentence_about_a_field_calls_it_what_the_page_calls_it():
    wrong = {entry.name: {} for entry in fields(TrainConfig) if entry.name not in ("lora_name", "advanced")}
    for name in wrong:
        with pytest.raises(ConfigError) as refused:
            TrainConfig.from_state({"lora_name": "x", name: "\0" * 2})
        assert str(refused.value).startswith(f"{BY_NAME[name].label} ")
        assert refused.value.field == name


def test_a_fields_flag_is_shown_as_it_is_typed():
    assert [component(entry).info or "" for entry in FIELDS] == [entry.flag for entry in FIELDS]


def test_each_setting_has_one_name_in_one_table():
    assert list(LABELS) == [entry.name for entry in FIELDS]
    assert all(BY_NAME[entry.beside].place == entry.place for entry in FIELDS if entry.beside)


@pytest.mark.parametrize("entry", FIELDS, ids=lambda entry: entry.name)
def test_every_field_has_words_and_makes_a_component(entry):
    assert entry.label
    assert entry.help.endswith(".")
    assert component(entry).elem_id == f"field-{entry.name}"

"""Between the fields and ui_state.json: exact round trips, and one message at each field with an invalid value."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from fluxgym.config.settings import OTHER_FLAGS, SET_BY_FORM, SETTINGS, TrainConfig
from fluxgym.config.trainer_flags import NOT_FOR_A_RUN, all_flags
from fluxgym.planning.plan import read_config
from fluxgym.planning.start_checks import Findings
from fluxgym.ui.form import NAMES
from fluxgym.ui.form_values import from_state, to_state, usable

HOSTILE = some.text(max_size=40)


def typed(**changes: object) -> dict[str, object]:
    """Return what the fields hold for the defaults with some changes."""
    return from_state({"lora_name": "cat"}) | changes


def test_defaults_equal_fluxgym_defaults():
    state, errors = to_state(typed())
    assert errors == {}
    assert TrainConfig.from_state(state) == TrainConfig(lora_name="cat")


@given(lora_name=HOSTILE, concept_sentence=HOSTILE, sample_prompts=HOSTILE, resume_from_checkpoint=HOSTILE)
def test_texts_are_restored_as_typed(**texts):
    state, _ = to_state(typed(**texts))
    assert json.loads(json.dumps(state)) == state
    assert to_state(from_state(state))[0] == state
    assert {name: state[name] for name in texts} == texts


def test_advanced_fields_and_other_flags_are_restored():
    changes = {
        "network_alpha": "8", "train_batch_size": "2", "enable_bucket": False, "lr_scheduler": "cosine", "reg_data_dir": "a folder",
        OTHER_FLAGS: "max_grad_norm = 0.5\nnetwork_train_unet_only\n--optimizer_args = weight_decay=0.01 'betas=0.9, 0.99'",
    }  # fmt: skip
    state, errors = to_state(typed(**changes))
    assert errors == {}
    assert isinstance(state["advanced"]["train_batch_size"], int)
    assert state["advanced"] == {
        "network_alpha": 8, "train_batch_size": 2, "enable_bucket": False, "lr_scheduler": "cosine", "reg_data_dir": "a folder",
        "max_grad_norm": 0.5, "network_train_unet_only": True, "optimizer_args": ["weight_decay=0.01", "betas=0.9, 0.99"],
    }  # fmt: skip
    assert to_state(from_state(state)) == (state, {})


@pytest.mark.parametrize(("text", "number"), [("16", 16), (" 16 ", 16), ("16.0", 16), ("1.6e1", 16), ("+16", 16)])
def test_number_is_read_from_text(text, number):
    state, errors = to_state(typed(max_train_epochs=text))
    assert (state["max_train_epochs"], errors) == (number, {})
    assert isinstance(state["max_train_epochs"], int)


@pytest.mark.parametrize(("field", "example"), [("max_train_epochs", ", such as 32"), ("resolution", ", such as 64"), ("seed", ", such as 42"),
                                                ("learning_rate", ", such as 2e-3"), ("sample_every_n_steps", "")])  # fmt: skip
def test_message_about_empty_field_names_default_of_base_model(field, example):
    _, errors = to_state(typed(**{field: " "}), {"max_train_epochs": 32, "resolution": 64, "learning_rate": "2e-3"})
    assert errors[field].endswith(f" is empty. Enter a number{example}.")


@pytest.mark.parametrize("text", ["9007199254740991", "9007199254740991.0", "+9007199254740991"])
def test_digits_of_whole_number_are_kept(text):
    assert to_state(typed(seed=text))[0]["seed"] == 9007199254740991


@pytest.mark.parametrize("text", ["0e999999999999999999999", "1e-99999999999999999999", "0e99999999999"])
def test_number_with_huge_exponent_is_read_as_its_float(text):
    assert to_state(typed(seed=text))[0]["seed"] == 0


def test_number_is_shown_as_text_and_emptied_advanced_number_is_default():
    shown = from_state({"max_train_epochs": 7, "seed": 7.0, "advanced": {"network_alpha": 0.5, "train_batch_size": 2}})
    assert [shown[name] for name in ("max_train_epochs", "seed", "network_alpha", "train_batch_size")] == ["7", "7", "0.5", "2"]
    state, errors = to_state(typed(network_alpha=" "))
    assert ("network_alpha" in state["advanced"], errors) == (False, {})


def test_invalid_number_is_kept_as_typed():
    state, errors = to_state(typed(max_train_epochs="1_0", network_alpha="3,5"))
    assert (state["max_train_epochs"], state["advanced"]["network_alpha"]) == ("1_0", "3,5")
    assert set(errors) == {"max_train_epochs", "network_alpha"}
    shown = from_state(json.loads(json.dumps(state)))
    assert (shown["max_train_epochs"], shown["network_alpha"]) == ("1_0", "3,5")


def mistakes(**changes):
    """Return the config of what is typed and the message beside each field."""
    state, errors = to_state(typed(**changes))
    findings = Findings()
    config = read_config(usable(state, errors), Path("models"), findings, with_defaults=False)
    return config, {problem.field: problem.message for problem in findings.problems} | errors


@pytest.mark.parametrize(
    ("field", "value", "word"),
    [
        ("learning_rate", "abc", "abc"), ("max_train_epochs", "0", "0"), ("max_train_epochs", "", "empty"), ("max_train_epochs", None, "empty"),
        ("num_repeats", "1.5", "1.5"),
        ("seed", " ", "Seed is empty. Enter a number, such as 42."), ("num_repeats", "3,5", "Repeat trains per image must be a whole number, not “3,5”."),
        ("max_train_epochs", "1.000", "Write it without separators: 1000."), ("seed", "10,000", "Write it without separators: 10000."),
        ("seed", "1 000 000", "Write it without separators: 1000000."), ("guidance_scale", "3,5", "Use a point: 3.5."),
        ("num_repeats", "1_0", "must be a number, not “1_0”"), ("num_repeats", "١", "must be a number"), ("num_repeats", "1e999", "must be a number"),
        ("network_alpha", "1,5", "Use a point: 1.5."), ("network_alpha", "1_0", "1_0"), ("network_alpha", "nan", "nan"), ("network_alpha", "one", "one"),
        ("num_repeats", "3,0", "Repeat trains per image must be a whole number, not “3,0”."),
        ("learning_rate", "0,001", "not “0,001”. Use a point: 0.001."), ("learning_rate", "1,500", "Use a point: 1.500."),
        ("learning_rate", "0001", "not “0001”."), ("guidance_scale", "00,125", "Use a point: 0.125."), ("num_repeats", "0.001", "not “0.001”."),
        ("train_batch_size", "1,5", "Batch size must be a whole number, not “1,5”."), (OTHER_FLAGS, "gradient_accumulation_steps = 1,5", "not “1,5”."),
        ("learning_rate", "", "Learning rate is empty. Enter a number, such as 8e-4."), ("sample_every_n_steps", "", "N steps is empty. Enter a number."),
        ("seed", str(10**30), f"not “{10**30}”."), ("seed", "9007199254740993", "not “9007199254740993”."), ("num_repeats", "0e0", "not “0e0”."),
        ("num_repeats", "1e30", "not “1e30”."), ("train_batch_size", "1e9", "not 1e9."), (OTHER_FLAGS, "max_grad_norm = -1e0", "not -1e0."),
        ("train_batch_size", str(10**30), f"not {10**30}."), ("vram", "2G", "2G"),
        ("lora_name", "../../x", "slash"), ("lora_name", "🐱", "folder name"), ("lora_name", "x" * 300, "300"),
        ("lora_name", "   ", "a name"), ("timestep_sampling", "often", "often"), ("train_batch_size", "two", "two"),
        (OTHER_FLAGS, "max_grad_nrm = 1", "max_grad_norm"), (OTHER_FLAGS, "seed = x", "seed"), (OTHER_FLAGS, "output_dir = /", "output_dir"),
    ],
)  # fmt: skip
def test_each_invalid_value_is_reported_at_its_field(field, value, word):
    _, errors = mistakes(**{field: value})
    assert list(errors) == [field]
    assert errors[field].endswith(word) if word.endswith(".") else word in errors[field]


def test_all_invalid_values_are_reported_together():
    config, errors = mistakes(learning_rate="abc", max_train_epochs="0", seed="")
    assert set(errors) == {"learning_rate", "max_train_epochs", "seed"}
    assert config.learning_rate == TrainConfig(lora_name="x").learning_rate


@pytest.mark.parametrize(
    "state",
    [
        {}, {"advanced": []}, {"max_train_epochs": "many", "seed": [1], "lora_name": {"a": 1}}, {"enable_monitoring": "yes"},
        {"num_repeats": float("inf")}, {"advanced": {"train_batch_size": "x", "unknown": {"deep": [1]}}}, {"resolution": 1e400},
    ],
)  # fmt: skip
def test_any_state_can_be_shown(state):
    shown = from_state(state)
    assert set(shown) == set(NAMES)
    assert all(isinstance(value, (str, bool)) for value in shown.values())
    json.dumps(shown, allow_nan=False)


def test_other_flags_given_twice_are_joined_or_refused():
    state, errors = to_state(typed(other_flags="network_args = a=1 b=2\nnetwork_args = c=3"))
    assert (state["advanced"]["network_args"], errors) == (["a=1", "b=2", "c=3"], {})
    _, errors = to_state(typed(other_flags="max_grad_norm = 1\n--max_grad_norm = 2"))
    assert errors == {OTHER_FLAGS: "“max_grad_norm” is given twice. Keep one of the lines."}


def values_for(flag):
    """Return a text for the flag's line in “Other flags”, and the value that it stands for."""
    if flag.choices:
        return str(flag.choices[-1]), flag.choices[-1]
    texts = {"int": ("300", 300), "float": ("1e-3", 1e-3), "int_or_float": ("0.5", 0.5), "flag": ("true", True)}
    return texts.get(flag.type, ("a=1", "a=1"))


OTHERS = [flag for flag in all_flags().values() if flag.name not in {*SET_BY_FORM, *NOT_FOR_A_RUN, *SETTINGS} and flag.support != "refused"]


@pytest.mark.parametrize("flag", OTHERS, ids=lambda flag: flag.name)
def test_every_flag_in_other_flags_is_read_as_its_type(flag):
    text, value = values_for(flag)
    if flag.maximum is not None and isinstance(value, int) and value > flag.maximum:
        text, value = "30", 30
    state, errors = to_state({**from_state({}), "lora_name": "cat", OTHER_FLAGS: f"{flag.name} = {text}"})
    assert errors == {}
    assert state["advanced"][flag.name] == ([value] if flag.nargs else value)


@pytest.mark.parametrize("text", ["1e-4 5e-5", "[1e-4, 5e-5]", "1e-4 '5e-5'"])
def test_several_numbers_in_other_flags_are_read(text):
    state, errors = to_state({**from_state({}), "lora_name": "cat", OTHER_FLAGS: f"text_encoder_lr = {text}"})
    assert (state["advanced"], errors) == ({"text_encoder_lr": [1e-4, 5e-5]}, {})
    assert to_state(from_state(state) | {"lora_name": "cat"})[0]["advanced"] == state["advanced"]


@pytest.mark.parametrize("flag", [flag for flag in OTHERS if flag.type == "int" and not flag.choices], ids=lambda flag: flag.name)
@pytest.mark.parametrize("number", [10**21, -(10**21)])
def test_every_whole_number_in_other_flags_has_limits(flag, number):
    _, errors = to_state({**from_state({}), "lora_name": "cat", OTHER_FLAGS: f"{flag.name} = {number}"})
    assert f"“{flag.name}” must be at" in errors[OTHER_FLAGS]

"""Between the fields and ui_state.json: exact round trips, and one sentence beside each field that cannot be used."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from fluxgym.config.settings import OTHER_FLAGS, TrainConfig
from fluxgym.planning.checks import Findings
from fluxgym.planning.plan import read_config
from fluxgym.ui.form import NAMES
from fluxgym.ui.form_values import by_name, from_state, in_order, to_state, usable

HOSTILE = some.text(max_size=40)


def typed(**changes: object) -> dict[str, object]:
    """Return what the fields hold for the defaults with some changes."""
    return from_state({"lora_name": "cat"}) | changes


def test_defaults_are_fluxgyms():
    state, errors = to_state(typed())
    assert errors == {}
    assert TrainConfig.from_state(state) == TrainConfig(lora_name="cat")


@given(lora_name=HOSTILE, concept_sentence=HOSTILE, sample_prompts=HOSTILE, resume_from_checkpoint=HOSTILE)
def test_texts_come_back_as_they_were_typed(**texts):
    state, _ = to_state(typed(**texts))
    assert json.loads(json.dumps(state)) == state
    assert to_state(from_state(state))[0] == state
    assert {name: state[name] for name in texts} == texts


def test_advanced_fields_and_other_flags_come_back():
    changes = {
        "network_alpha": 8, "train_batch_size": 2, "enable_bucket": False, "lr_scheduler": "cosine", "reg_data_dir": "a folder",
        OTHER_FLAGS: "max_grad_norm = 0.5\nnetwork_train_unet_only\n--optimizer_args = weight_decay=0.01 'betas=0.9, 0.99'",
    }  # fmt: skip
    state, errors = to_state(typed(**changes))
    assert errors == {}
    assert state["advanced"] == {
        "network_alpha": 8, "train_batch_size": 2, "enable_bucket": False, "lr_scheduler": "cosine", "reg_data_dir": "a folder",
        "max_grad_norm": 0.5, "network_train_unet_only": True, "optimizer_args": ["weight_decay=0.01", "betas=0.9, 0.99"],
    }  # fmt: skip
    assert to_state(from_state(state)) == (state, {})


def mistakes(**changes):
    """Return the config of what is typed and the message beside each field."""
    state, errors = to_state(typed(**changes))
    findings = Findings()
    config = read_config(usable(state, errors), Path("models"), findings, with_defaults=False)
    return config, {problem.field: problem.message for problem in findings.problems} | errors


@pytest.mark.parametrize(
    ("field", "value", "word"),
    [
        ("learning_rate", "abc", "abc"), ("max_train_epochs", 0, "0"), ("max_train_epochs", None, "empty"), ("num_repeats", 1.5, "1.5"),
        ("vram", "2G", "2G"), ("lora_name", "../../x", "slash"), ("lora_name", "🐱", "folder name"), ("lora_name", "x" * 300, "300"),
        ("lora_name", "   ", "no name"), ("timestep_sampling", "often", "often"), ("train_batch_size", "two", "two"),
        (OTHER_FLAGS, "max_grad_nrm = 1", "max_grad_norm"), (OTHER_FLAGS, "seed = x", "seed"), (OTHER_FLAGS, "output_dir = /", "output_dir"),
    ],
)  # fmt: skip
def test_each_mistake_is_named_at_its_field(field, value, word):
    _, errors = mistakes(**{field: value})
    assert list(errors) == [field]
    assert word in errors[field]


def test_all_mistakes_are_named_at_once():
    config, errors = mistakes(learning_rate="abc", max_train_epochs=0, seed=None)
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
    assert by_name(in_order(shown)) == shown
    json.dumps(shown, allow_nan=False)

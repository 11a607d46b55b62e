"""200 generated states give the plans, errors and form fields that the code before the restructuring gave; see record_plans.py.

What decides and what is only worded are separate tests: a change of words must fail `..._labels` and `..._messages` alone.
"""

from collections import Counter
from typing import Any

import pytest

from tests.compatibility import current_code
from tests.compatibility.old_version import unpack_outputs
from tests.compatibility.record_plans import compute, load

RECORDED = load()


@pytest.fixture(scope="module", name="computed")
def fixture_computed():
    return compute([entry["state"] for entry in RECORDED["states"]])


def without_messages(value: Any) -> Any:
    """Return a plan or form with its errors cut to class and field."""
    if isinstance(value, dict):
        if set(value) == {"error"}:
            return {"error": value["error"][:2]}
        return {name: sorted(item) if name == "errors" else without_messages(item) for name, item in value.items()}
    return value


def reworded(message: str) -> str:
    """Return a recorded message in the words of today."""
    words = {
        "one a line": "one per line",
        "is no multiple of": "is not a multiple of",
        "data sets of foreign code are": "custom data set classes are",
        "the autoencoder of FLUX is given": "FLUX's VAE is given",
    }
    for old, new in words.items():
        message = message.replace(old, new)
    return message


def messages(entry: dict[str, Any]) -> list[str]:
    """Return every message of a plan and of the form, except those beside fields of numbers."""
    parts = [*entry["plan"].values(), entry["form"]["shown"], entry["filled"]]
    refused = [part["error"][2] for part in parts if isinstance(part, dict) and set(part) == {"error"}]
    return refused + [message for name, message in entry["form"].get("errors", {}).items() if name not in current_code.NUMBER_FIELDS]


def without_fields(form: dict[str, Any], names: set[str]) -> dict[str, Any]:
    """Return a form's values and state without some fields."""
    state = {name: value for name, value in form["state"].items() if name not in names}
    state["advanced"] = {name: value for name, value in form["state"]["advanced"].items() if name not in names}
    return {"shown": {name: value for name, value in form["shown"].items() if name not in names}, "state": state}


def is_read_as_number(state: dict[str, Any], name: str) -> bool:
    """Return True if the recorded form read a state's value as a number without naming its field: true, or a fraction of a whole number."""
    value = state.get(name, state["advanced"].get(name) if isinstance(state.get("advanced"), dict) else None)
    return isinstance(value, (bool, float, str))


def as_built_today(field: dict[str, Any]) -> dict[str, Any]:
    """Return a recorded field as it is built today: a number is a text box, and a field opens with its default."""
    built = {name: value for name, value in field.items() if name != "words"}
    if field["component"] == "number":
        built |= {"component": "textbox", "lines": [1, 1], "value": "" if field["default"] is None else str(field["default"])}
    elif field["component"] != "dropdown":
        built["value"] = field["default"]
    if field["name"] == "learning_rate":
        built["classes"] = ["fg-field", "fg-kind-number"]
    return built


@pytest.mark.parametrize("part", ["plan", "filled"])
def test_each_state_gives_what_it_gave(part, computed):
    for index, (old, new) in enumerate(zip(RECORDED["states"], computed["states"], strict=True)):
        assert without_messages(new[part]) == without_messages(old[part]), f"state {index}: {old['state']}"


def test_the_form_of_each_state_is_what_it_was(computed):
    """A number that cannot be read is kept as it was typed and named; the recorded form emptied it."""
    for old, new in zip(RECORDED["states"], computed["states"], strict=True):
        before, now = old["form"], new["form"]
        if "errors" not in before:
            assert without_messages(now) == without_messages(before), old["state"]
            continue
        refused = set(now["errors"])
        assert refused >= set(before["errors"]), old["state"]
        for name in refused - set(before["errors"]):
            assert name in current_code.NUMBER_FIELDS
            assert is_read_as_number(old["state"], name), (name, old["state"])
        unreadable = refused & current_code.NUMBER_FIELDS
        assert without_fields(now, unreadable) == without_fields(before, unreadable), old["state"]


def test_the_message_beside_a_number_says_that_it_is_empty_or_what_is_wrong(computed):
    found = {
        message
        for entry in computed["states"]
        for name, message in entry["form"].get("errors", {}).items()
        if name in current_code.NUMBER_FIELDS
    }
    assert len(found) > 50
    assert [message for message in found if " is empty. Enter a number, such as " not in message and " must be " not in message] == []


def test_the_messages_of_errors_are_the_same(computed):
    for old, new in zip(RECORDED["states"], computed["states"], strict=True):
        assert messages(new) == [reworded(message) for message in messages(old)], old["state"]


def test_the_form_has_the_fields_that_it_had(computed):
    built = [{name: field[name] for name in field if name != "words"} for field in computed["form fields"]]
    assert built == [as_built_today(field) for field in RECORDED["form fields"]]


@pytest.mark.parametrize("word", ["label", "info", "placeholder"])
def test_the_form_has_the_labels_that_it_had(computed, word):
    """Tutorials name these; the sentences of help are in docs/settings.md. Only words of the old dialect changed."""
    old, new = ({field["name"]: field["words"][word] for field in made["form fields"]} for made in (RECORDED, computed))
    renamed = {"picture": "image", "isation": "ization", "one a line": "one per line"}
    for before, after in renamed.items():
        old = {name: text and text.replace(before, after) for name, text in old.items()}
    assert new == old


@pytest.mark.parametrize("part", ["flags", "model defaults"])
def test_flags_and_models_are_the_same(part, computed):
    assert computed[part] == RECORDED[part]


def test_a_draft_of_the_old_code_is_read(tmp_path):
    (folder,) = (unpack_outputs(tmp_path).outputs / ".fluxgym" / "drafts").iterdir()
    assert current_code.draft_form(folder) == {"form": {"state": {"lora_name": "Draft Cat", "seed": 7}, "source": "done-cat"}, "images": 4}


def test_the_recording_covers_every_field_and_both_outcomes():
    """A recording without errors, or without plans, would hold the code to nothing."""
    states = [entry["state"] for entry in RECORDED["states"]]
    refused = Counter(entry["plan"]["config"]["error"][1] for entry in RECORDED["states"] if "error" in entry["plan"]["config"])
    assert len(states) > 200
    assert set(refused) >= {field["name"] for field in RECORDED["form fields"] if not field["in advanced"]} - {"other_flags"}
    assert sum("argv" in entry["plan"] for entry in RECORDED["states"]) > 90
    used = {name for state in states if isinstance(state.get("advanced"), dict) for name in state["advanced"]}
    assert len(used & set(RECORDED["flags"])) > 150  # honored and accepted ones in all

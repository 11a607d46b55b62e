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
    """Return every message of a plan and of the form."""
    parts = [*entry["plan"].values(), entry["form"]["shown"], entry["filled"]]
    refused = [part["error"][2] for part in parts if isinstance(part, dict) and set(part) == {"error"}]
    return refused + list(entry["form"].get("errors", {}).values())


@pytest.mark.parametrize("part", ["plan", "form", "filled"])
def test_each_state_gives_what_it_gave(part, computed):
    for index, (old, new) in enumerate(zip(RECORDED["states"], computed["states"], strict=True)):
        assert without_messages(new[part]) == without_messages(old[part]), f"state {index}: {old['state']}"


def test_the_messages_of_errors_are_the_same(computed):
    for old, new in zip(RECORDED["states"], computed["states"], strict=True):
        assert messages(new) == [reworded(message) for message in messages(old)], old["state"]


def test_the_form_has_the_fields_that_it_had(computed):
    old, new = (
        [{name: field[name] for name in field if name != "words"} for field in made["form fields"]] for made in (RECORDED, computed)
    )
    assert new == old


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

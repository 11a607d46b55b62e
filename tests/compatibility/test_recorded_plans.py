"""200 generated states give the plans, errors and form fields that the code before the restructuring gave; see record_plans.py.

What decides and what is only worded are separate tests: a change of texts must fail `..._labels` and `..._messages` alone.
"""

import re
from collections import Counter
from typing import Any

import pytest

from fluxgym.config.settings import IN_ADVANCED, SETTINGS
from tests.compatibility import current_code
from tests.compatibility.old_version import unpack_outputs
from tests.compatibility.record_plans import compute, load

RECORDED = load()
ADVANCED_FIELDS = tuple(setting.name for setting in IN_ADVANCED)
# The page as drawn (issue 11): labels in sentence case, units and plain words; old label → new one.
LABELS = {
    "The name of your LoRA": "LoRA name",
    "VRAM": "GPU memory (VRAM)",
    "Max Train Epochs": "Max train epochs",
    "Sample Image Prompts (one a line)": "Sample image prompts (one per line)",
    "Sample Image Every N Steps": "Sample image every N steps",
    "Learning Rate": "Learning rate",
    "Timestep Sampling": "Timestep sampling",
    "Guidance Scale": "Guidance scale",
    "LoRA Rank": "LoRA rank",
    "Network Alpha": "LoRA alpha",
    "Train batch size": "Batch size",
    "Scheduler": "Learning rate scheduler",
    "Keep each picture's shape (buckets)": "Keep each image’s shape (buckets)",
}
REFUSED_SPLIT = "validation_split holds every image out"  # had no steps before
NOW_LIMITED = {"lr_scheduler_min_lr_ratio": {"minimum": 0}}  # a negative one made the rate negative
NOW_READ = tuple(
    f"The advanced setting “{name}” needs a number" for name in ("text_encoder_lr", "base_weights_multiplier")
)  # they take several
NOW_HONORED = ("highvram", "lowram", "skip_cache_check")  # without effect before; what they ask for is always so
PLACEHOLDERS = {"the trigger word, until you write something else": "The trigger word is used until you write a prompt"}


@pytest.fixture(scope="module", name="computed")
def fixture_computed():
    return compute([entry["state"] for entry in RECORDED["states"]])


def without_messages(value: Any) -> Any:
    """Return a plan or form with its errors cut to class and field."""
    if isinstance(value, dict):
        if set(value) == {"error"}:
            kind, field = value["error"][:2]
            return {"error": [kind, "advanced" if field in ADVANCED_FIELDS else field]}  # a flag with a field is named beside it since then
        return {name: sorted(item) if name == "errors" else without_messages(item) for name, item in value.items()}
    return value


def without_default_logs(part: Any) -> Any:
    """Return a plan without the folder of logs that a run gets since then if it logs and names none."""
    if not isinstance(part, dict):
        return part

    def without(words: Any) -> Any:
        at = words.index("--logging_dir") if isinstance(words, list) and "--logging_dir" in words else None
        return words if at is None or not words[at + 1].endswith("/logs") else [*words[:at], *words[at + 2 :]]

    return {name: without(item) for name, item in part.items()}


def with_joined_trigger(part: Any, state: dict[str, Any]) -> Any:
    """Return a recorded plan with a trigger of several lines as one sample prompt, as it is drawn since then."""
    trigger = state.get("concept_sentence")
    if not isinstance(part, dict) or not isinstance(part.get("sample prompts"), str) or not isinstance(trigger, str):
        return part
    return part | {"sample prompts": part["sample prompts"].replace(trigger, " ".join(trigger.split()))} if "\n" in trigger else part


def with_refused_split(part: Any, state: dict[str, Any]) -> Any:
    """Return a recorded plan that held every image out, and so had no steps, as it is refused since then."""
    advanced = state.get("advanced")
    is_split = isinstance(advanced, dict) and bool(advanced.get("validation_split"))
    return (
        part | {"steps": {"error": ["ConfigError", "advanced"]}} if is_split and isinstance(part, dict) and part.get("steps") == 0 else part
    )


def without_hint(message: str) -> str:
    """Return a message without what is newer than the record: how to write the number, and which of two reasons a text is refused for."""
    for reason in (r"is too long: it has [\d,]+ characters, and at most 20,000 are possible", "holds a character that files cannot hold"):
        message = re.sub(f"(?<! or )(?<!setting's name ){reason}", "is too long or holds a character that files cannot hold", message)
    for name in ADVANCED_FIELDS:
        message = re.sub(f"^{re.escape(SETTINGS[name].label)} (?=needs|must|cannot)", f"The advanced setting “{name}” ", message)
    return re.sub(r" Use a point: [\d.]+\.$", "", message)


def reworded(message: str) -> str:
    """Return a recorded message in the words of today."""
    words = {
        "one a line": "one per line",
        "is no multiple of": "is not a multiple of",
        "data sets of foreign code are": "custom data set classes are",
        "the autoencoder of FLUX is given": "FLUX's VAE is given",
        "The LoRA has no name yet; type one.": "Give your LoRA a name.",
        "must be a number above 0, such as": "must be a number from 1e-12 to 10, such as",  # 900 is above 0
        "must be a number from 1e-12 to 10, such as 8e-4, not “”": "is empty. Enter a number, such as 8e-4",
        "kohya's flag names are meant, without": "Use kohya's flag names, without",
        "nothing is uploaded while training; publishing is FluxGym's publish step, after it": "this trainer uploads nothing",
        "a key on a command line can be read by everyone on the machine; set WANDB_API_KEY in the environment": (
            "other users of the machine can read a command line; set WANDB_API_KEY in the environment before the app or the trainer is started"
        ),
    }
    for old, new in words.items():
        message = message.replace(old, new)
    message = re.sub(
        r"is set by the form's own (\w+); use", lambda found: f"is set by the field “{SETTINGS[found[1]].label}” of the form; use", message
    )
    message = re.sub(r"^The resolution (\d+) is not a multiple of 16;", r"Resize dataset images must be a multiple of 16, not \1;", message)
    label = next((label for label in sorted(LABELS, key=len, reverse=True) if message.startswith(reworded_label(label) + " ")), "")
    return LABELS[label] + message[len(reworded_label(label)) :] if label else message


def reworded_label(label: str) -> str:
    """Return a recorded label as a recorded message names it after `reworded`."""
    return label.replace("one a line", "one per line")


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


def with_numbers(form: dict[str, Any]) -> dict[str, Any]:
    """Return a recorded form with the numbers of flags that take several as numbers, as they are read since then."""
    advanced = form["state"]["advanced"]
    read = {name: [float(text) for text in advanced[name]] for name in ("text_encoder_lr", "base_weights_multiplier") if name in advanced}
    return form | {"state": form["state"] | {"advanced": advanced | read}}


def is_read_as_number(state: dict[str, Any], name: str) -> bool:
    """Return True if the recorded form read a state's value as a number without naming its field: true, or a fraction of a whole number."""
    value = state.get(name, state["advanced"].get(name) if isinstance(state.get("advanced"), dict) else None)
    return isinstance(value, (bool, float, str))


def as_built_today(field: dict[str, Any]) -> dict[str, Any]:
    """Return a recorded field as it is built today: a number is a text box, the GPU's memory is a dropdown, and no field of Advanced has one beside it.

    A field opens with its default.
    """
    built = {name: value for name, value in field.items() if name != "words"}
    if field["part"] == "advanced":
        built["beside"] = ""
    if field["name"] == "vram":
        built |= {"component": "dropdown", "classes": ["fg-field", "fg-kind-choice"], "value": None, "custom": True}
    elif field["component"] == "number":
        built |= {"component": "textbox", "lines": [1, 1], "value": "" if field["default"] is None else str(field["default"])}
    elif field["component"] != "dropdown":
        built["value"] = field["default"]
    if field["name"] == "learning_rate":
        built["classes"] = ["fg-field", "fg-kind-number"]
    return built


@pytest.mark.parametrize("part", ["plan", "filled"])
def test_recorded_state_gives_recorded_plan(part, computed):
    for index, (old, new) in enumerate(zip(RECORDED["states"], computed["states"], strict=True)):
        now = without_default_logs(without_messages(new[part]))
        before = with_refused_split(with_joined_trigger(without_messages(old[part]), old["state"]), old["state"])
        assert now == before, f"state {index}: {old['state']}"


def test_recorded_state_gives_recorded_form(computed):
    """A number that cannot be read is kept as it was typed and named; the recorded form emptied it.

    A value that no field can show, such as a list, is named, and its field shows the default; the recorded form emptied it or made it 1. A switch
    reads "yes" and 1; the recorded form switched it off.
    """
    for old, new in zip(RECORDED["states"], computed["states"], strict=True):
        before, now = old["form"], new["form"]
        if "errors" not in before:
            assert without_messages(now) == without_messages(before), old["state"]
            continue
        refused, without_value = set(now["errors"]), current_code.fields_without_their_value(old["state"])
        read = {name for name, message in before["errors"].items() if message.startswith(NOW_READ)}
        assert refused | without_value >= set(before["errors"]) - read, old["state"]
        for name in refused - set(before["errors"]):
            assert name in current_code.NUMBER_FIELDS
            assert is_read_as_number(old["state"], name), (name, old["state"])
        changed = (refused & current_code.NUMBER_FIELDS) | without_value
        assert without_fields(now, changed) == with_numbers(without_fields(before, changed)), old["state"]


def test_number_field_reports_empty_or_invalid_value(computed):
    found = {
        message
        for entry in computed["states"]
        for name, message in entry["form"].get("errors", {}).items()
        if name in current_code.NUMBER_FIELDS
    }
    assert len(found) > 50
    assert [message for message in found if " is empty. Enter a number" not in message and " must be " not in message] == []


def test_error_messages_equal_recorded_ones(computed):
    for old, new in zip(RECORDED["states"], computed["states"], strict=True):
        now = [without_hint(message) for message in messages(new) if not message.startswith(REFUSED_SPLIT)]
        assert now == [reworded(message) for message in messages(old) if not message.startswith(NOW_READ)], old["state"]


def test_form_fields_equal_recorded_ones(computed):
    built = [{name: field[name] for name in field if name != "words"} for field in computed["form fields"]]
    assert built == [as_built_today(field) for field in RECORDED["form fields"]]


@pytest.mark.parametrize(("word", "changed"), [("label", LABELS), ("placeholder", PLACEHOLDERS)])
def test_form_texts_equal_recorded_ones(computed, word, changed):
    """Tutorials name these; the sentences of help are in docs/settings.md."""
    old, new = ({field["name"]: field["words"][word] for field in made["form fields"]} for made in (RECORDED, computed))
    assert set(changed) <= set(old.values())
    assert new == {name: changed.get(text, plain(text)) for name, text in old.items()}


def plain(text: str | None) -> str | None:
    """Return a recorded text without the words of the old dialect."""
    for before, after in {"picture": "image", "isation": "ization"}.items():
        text = text and text.replace(before, after)
    return text


def test_field_flags_equal_recorded_ones(computed):
    """The flag was the field's help; now assets/fields.js shows it beside the help."""
    flags = current_code.flags_beside_fields()
    assert {field["name"]: field["words"]["info"] or "" for field in RECORDED["form fields"]} == {
        field["name"]: flags[field["name"]] for field in computed["form fields"]
    }


def test_flags_equal_recorded_ones(computed):
    honored = RECORDED["flags"]["sdpa"]["support"]
    changed = {name: {"support": honored} for name in NOW_HONORED} | NOW_LIMITED
    expected = RECORDED["flags"] | {name: RECORDED["flags"][name] | change for name, change in changed.items()}
    limits = {name: without_limits(flag) for name, flag in expected.items() if flag["type"] == "int"}
    assert {name: without_limits(flag) if name in limits else flag for name, flag in computed["flags"].items()} == expected | limits


def without_limits(flag: dict[str, Any]) -> dict[str, Any]:
    """Return a flag without its limits: every whole number has some since then."""
    return {name: value for name, value in flag.items() if name not in ("minimum", "maximum")}


def test_model_defaults_equal_recorded_ones(computed):
    assert computed["model defaults"] == RECORDED["model defaults"]


def test_draft_of_old_code_is_read(tmp_path):
    (folder,) = (unpack_outputs(tmp_path).outputs / ".fluxgym" / "drafts").iterdir()
    assert current_code.draft_form(folder) == {"form": {"state": {"lora_name": "Draft Cat", "seed": 7}, "source": "done-cat"}, "images": 4}


def test_recording_covers_every_field_and_both_outcomes():
    """A recording without errors, or without plans, would hold the code to nothing."""
    states = [entry["state"] for entry in RECORDED["states"]]
    refused = Counter(entry["plan"]["config"]["error"][1] for entry in RECORDED["states"] if "error" in entry["plan"]["config"])
    assert len(states) > 200
    assert set(refused) >= {field["name"] for field in RECORDED["form fields"] if not field["in advanced"]} - {"other_flags"}
    assert sum("argv" in entry["plan"] for entry in RECORDED["states"]) > 90
    used = {name for state in states if isinstance(state.get("advanced"), dict) for name in state["advanced"]}
    assert len(used & set(RECORDED["flags"])) > 150  # honored and accepted ones in all

"""Templates: settings under a name, without a LoRA's name; damaged ones hide no others."""

import json

import pytest

from fluxgym.errors import BadName, ConfigError, ReplacesTemplate, SessionNotFound
from fluxgym.runs.paths import OutputsPaths
from fluxgym.sessions import templates


@pytest.fixture(name="outputs")
def fixture_outputs(tmp_path):
    return OutputsPaths(tmp_path)


def test_template_is_saved_listed_applied_and_deleted(outputs):
    state = {
        "lora_name": "my cat",
        "max_train_epochs": 8,
        "concept_sentence": "sks cat",
        "status": "running",
        "advanced": {"network_alpha": 2.0},
    }
    templates.save(outputs, "Faces, sharp", state)
    (template,) = templates.list_templates(outputs)
    assert template.name == "Faces, sharp"
    assert "lora_name" not in template.settings
    applied = templates.apply(outputs, "Faces, sharp", {"lora_name": "dog", "max_train_epochs": 1, "concept_sentence": "my dog"})
    assert (applied["lora_name"], applied["max_train_epochs"], applied["concept_sentence"]) == ("dog", 8, "my dog")
    assert applied["advanced"] == {"network_alpha": 2.0}
    assert templates.apply(outputs, "faces-sharp", {"lora_name": "dog"})["concept_sentence"] == "sks cat"
    templates.delete(outputs, "Faces, sharp")
    assert templates.list_templates(outputs) == []


def test_name_with_same_slug_does_not_replace_template(outputs):
    templates.save(outputs, "A B", {"max_train_epochs": 4})
    with pytest.raises(BadName, match="“A B”"):
        templates.save(outputs, "a-b", {"max_train_epochs": 5})
    assert [template.settings["max_train_epochs"] for template in templates.list_templates(outputs)] == [4]


def test_template_is_replaced_only_if_user_agrees(outputs):
    templates.save(outputs, "A B", {"max_train_epochs": 3})
    templates.save(outputs, "A B", {"max_train_epochs": 3})  # nothing is lost
    with pytest.raises(ReplacesTemplate, match=r"a template “A B” already\. If it is replaced, its settings are lost"):
        templates.save(outputs, "A B", {"max_train_epochs": 4})
    assert [template.settings["max_train_epochs"] for template in templates.list_templates(outputs)] == [3]
    templates.save(outputs, "A B", {"max_train_epochs": 4}, agreed=["ReplacesTemplate"])
    assert [template.settings["max_train_epochs"] for template in templates.list_templates(outputs)] == [4]


def test_invalid_template_is_refused(outputs):
    with pytest.raises(BadName, match="The template name"):
        templates.save(outputs, "../x", {})
    with pytest.raises(ConfigError, match="Max train epochs"):
        templates.save(outputs, "x", {"max_train_epochs": "many"})
    with pytest.raises(SessionNotFound, match="there are: none"):
        templates.apply(outputs, "x", {})


def test_damaged_template_does_not_hide_others(outputs):
    templates.save(outputs, "good", {"max_train_epochs": 3})
    (outputs.templates / "bad.json").write_text('{"name": "bad"}')
    (outputs.templates / "cut.json").write_text("{")
    (outputs.templates / "odd.json").write_text('{"name": "odd", "settings": [1]}')
    assert [template.name for template in templates.list_templates(outputs)] == ["good"]


def test_template_edited_by_hand_brings_settings_and_nothing_else(outputs):
    outputs.templates.mkdir(parents=True)
    settings = {
        "max_train_epochs": 3,
        "status": "running",
        "timestamp": 1.0,
        "lora_name": "x",
        "run_id": "y",
        "resume_from_checkpoint": "z",
    }
    (outputs.templates / "mine.json").write_text(json.dumps({"name": "mine", "settings": settings}))
    assert templates.apply(outputs, "mine", {"lora_name": "dog"}) == {"lora_name": "dog", "max_train_epochs": 3}


@pytest.mark.parametrize(
    ("name", "sentence"), [("", "Give the template a name."), (" ", "Give the template a name."), ("a\0b", "cannot be seen")]
)
def test_invalid_template_name_is_refused(name, sentence, tmp_path):
    with pytest.raises(BadName, match=sentence):
        templates.save(OutputsPaths(tmp_path), name, {})

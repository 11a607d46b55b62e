"""The answer that is shown beside the fields: steps, checks, command and TOML, and a model's defaults in untouched fields only."""

import tomllib

import pytest

from fluxgym.config.defaults import DEFAULTS
from fluxgym.errors import Level
from fluxgym.runs.launch_spec import DeviceRequest, LaunchSpec, write_launch_spec
from fluxgym.sessions.index import SessionIndex
from fluxgym.sessions.past_speed import UNKNOWN
from fluxgym.trainers.trainer_verdicts import CHECK_SCRIPT
from fluxgym.ui.api.answers import ChangedSetting, FormLine
from fluxgym.ui.form_planner import FormPlanner
from tests.support.photos import write_cats
from tests.support.runs import dead_process, make_run, record_processes
from tests.support.small_installation import small_installation
from tests.support.trained_runs import write_line


@pytest.fixture
def settings(tmp_path):
    """Return folders of this test."""
    return small_installation(tmp_path)


@pytest.fixture
def form(settings):
    """Return the form."""
    return FormPlanner(settings, SessionIndex(settings.outputs))


@pytest.fixture
def images(tmp_path):
    """Return a folder of four images."""
    return write_cats(tmp_path / "images", count=4)


def state(form, **changes):
    """Return the pocket model's defaults with some changes."""
    return form.explicit(form.defaults("pocket") | {"lora_name": "My Cat"} | changes)


def test_reply_has_steps_checks_command_and_toml(form, images, settings):
    answer = form.plan(
        state(form, num_repeats=4, max_train_epochs=3, concept_sentence='a "quoted" cat', sample_every_n_steps=0), {}, images
    ).checks
    assert answer.errors == {}
    (warning,) = [line.text for line in answer.lines if line.level != "ok"]
    assert warning.startswith('4 captions do not contain the trigger word “a "quoted" cat”')
    assert answer.explain == "4 images × 4 repeats × 3 epochs, with as many regularization images (Advanced), 16 images per step"
    assert answer.images == 4
    assert answer.steps == 6  # 4 images x 4, the same number of regularization images, 16 per step, 3 epochs
    assert "--output_name my-cat" in answer.command
    assert tomllib.loads(answer.toml)["datasets"][0]["subsets"][0]["class_tokens"] == 'a "quoted" cat'


def test_field_with_an_error_gets_no_warning_about_its_default(form, images):
    values = state(form, sample_every_n_steps=0, sample_prompts="a cat")
    lines = [line.text for line in form.plan(values, {}, images).checks.lines]
    assert any(text.startswith("No sample image is drawn") for text in lines)
    refused = form.plan(values, {"sample_every_n_steps": "Enter a whole number of at least 0, not “-1”."}, images).checks
    assert not any(line.text.startswith("No sample image is drawn") for line in refused.lines)


@pytest.mark.parametrize(("prefix", "required"), [("a zqx dog, ", ""), ("a photo, ", "zqx dog")])
def test_trigger_word_in_caption_prefix_is_not_required_in_captions(form, images, prefix, required):
    values = state(form, concept_sentence="zqx dog", advanced=form.defaults("pocket")["advanced"] | {"caption_prefix": prefix})
    answer = form.plan(values, {}, images).checks
    assert answer.trigger == required  # what the images' cards, counts and filter look for
    assert any("trigger word" in line.text for line in answer.lines) is bool(required)


def test_reply_reports_empty_name_only_after_start(form, images):
    empty = state(form, lora_name="")
    assert form.plan(empty, {}, images).checks.errors == {}
    assert form.plan(empty, {}, images).checks.lines[0].text == "Give your LoRA a name."
    assert list(form.plan(empty, {}, images, pressed=True).checks.errors) == ["lora_name"]


def test_reply_about_incomplete_model_has_its_files_as_list(form, images):
    answer = form.plan(state(form, base_model="flux-dev"), {}, images).checks
    assert answer.errors["base_model"].startswith("FLUX.1 dev lacks the FLUX transformer")
    assert len(answer.details["base_model"]) == 6
    assert answer.details["base_model"][0].address == "https://huggingface.co/cocktailpeanut/xulf-dev"
    assert form.plan(state(form), {}, images).checks.details == {}


def test_reply_with_error_has_no_steps_and_no_command(form, images):
    answer = form.plan(state(form, max_train_epochs=0), {}, images).checks
    assert answer.steps is None
    assert answer.command == ""
    assert answer.lines[0] == FormLine(level=Level.ERROR, text=answer.errors["max_train_epochs"], field="max_train_epochs")


def test_reply_without_images_has_check_for_it(form, tmp_path):
    answer = form.plan(state(form), {}, tmp_path / "none").checks
    assert any(line.level == "error" and line.text == "Add at least one image." for line in answer.lines)


def test_reply_with_missing_model_names_it_at_its_field(form, images, settings):
    (settings.models / "pocket" / "ae.safetensors").unlink()
    answer = form.plan(state(form), {}, images).checks
    assert answer.errors["base_model"].startswith("Pocket Flux lacks the VAE (ae). Put it into ")
    assert [line.field for line in answer.lines if line.level == "error"] == ["base_model"]
    assert "base_model" not in answer.notes


def test_reply_after_model_choice_fills_unchanged_fields(form):
    before = form.defaults("flux-dev") | {"num_repeats": 3, "lora_name": "cat"}
    after = form.with_other_model(before | {"base_model": "pocket"}, "flux-dev")
    assert after["resolution"] == form.defaults("pocket")["resolution"] != DEFAULTS["resolution"]
    assert after["num_repeats"] == 3
    assert after["lora_name"] == "cat"
    assert after["advanced"] == form.defaults("pocket")["advanced"]


def test_reply_after_choosing_first_model_again_removes_defaults(form):
    pocket = form.defaults("pocket")
    changed = pocket | {"advanced": pocket["advanced"] | {"network_alpha": 3}, "base_model": "flux-dev"}
    after = form.with_other_model(changed, "pocket")
    assert after["resolution"] == DEFAULTS["resolution"]
    assert after["advanced"] == {"network_alpha": 3}


def test_reply_does_not_fill_field_that_was_emptied(form, images):
    emptied = form.explicit(form.defaults("pocket") | {"lora_name": "x", "advanced": {"network_alpha": 16}})
    assert emptied["advanced"]["reg_data_dir"] == ""
    assert emptied["advanced"]["enable_bucket"] is True
    assert "is_reg" not in form.plan(emptied, {}, images).checks.toml


def test_reply_checks_all_have_level_and_text(form, images):
    for changes in ({}, {"resolution": 100}, {"base_model": "nope"}, {"advanced": {"reg_data_dir": "nowhere"}}):
        for line in form.plan(state(form, **changes), {}, images).checks.lines:
            assert line.level in Level
            assert line.text


def test_messages_name_fields_as_the_form_does(form, images):
    assert form.plan(state(form, resolution=100), {}, images).checks.errors == {
        "resolution": "Resize dataset images must be a multiple of 16, not 100; use 96 or 112."
    }
    lines = form.plan(state(form, advanced={"reg_data_dir": "nowhere"}), {}, images).checks.errors
    assert lines["reg_data_dir"].startswith("Regularization images: the folder ")
    assert lines["reg_data_dir"].endswith("nowhere is missing. Correct the path, or leave the field empty.")


def test_reply_names_what_differs_from_models_defaults(form, images):
    assert form.plan(state(form), {}, images).checks.changed == []
    changed = form.plan(state(form, network_dim=7, num_repeats=3), {}, images).checks.changed
    assert changed == [ChangedSetting(name="network_dim", label="LoRA rank", value="7", default="16")]  # Advanced only


def test_reply_describes_gpu_memory_and_models_files(form, images):
    notes = form.plan(state(form, vram="16G"), {}, images).checks.notes
    assert notes["vram"].startswith("Adafactor, the model in float8.")
    assert notes["base_model"] == "All files are on disk. License: Apache-2.0."


def test_settings_refused_by_trainer_are_reported_at_other_flags(form, images, settings):
    refusal = "--optimizer_type nosuch is not an optimizer; use one of AdamW."
    script = f"import json\nprint(json.dumps({{'error': {refusal!r}, 'unchecked': []}}))"
    (settings.sd_scripts / CHECK_SCRIPT).parent.mkdir(parents=True)
    (settings.sd_scripts / CHECK_SCRIPT).write_text(script)
    unusual = state(form, advanced={"optimizer_type": "nosuch"})
    assert form.plan(state(form), {}, images, ask=True).checks.checking is False
    assert form.plan(state(form), {}, images).checks.checking is False
    edited = form.plan(unusual, {}, images).checks
    assert (edited.checking, edited.errors) == (True, {})
    answer = form.plan(unusual, {}, images, ask=True).checks
    assert form.plan(unusual, {}, images).checks == answer  # known from now on
    assert answer.checking is False
    assert answer.errors == {"other_flags": "optimizer_type nosuch is not an optimizer; use one of AdamW."}


def test_damaged_images_are_found_by_check_event_and_remembered(form, images):
    damaged = images / "cut.png"
    damaged.write_bytes((images / "cat 0.png").read_bytes()[:-2000])
    first = form.plan(state(form), {}, images).checks
    assert (first.checking, [line for line in first.lines if line.level == "error"]) == (True, [])
    answer = form.plan(state(form), {}, images, ask=True).checks
    assert answer.checking is False
    assert next(line.text for line in answer.lines if line.level == "error").startswith("cut.png ")
    assert form.plan(state(form), {}, images).checks == answer


def test_sample_prompt_that_trainer_refuses_is_beside_its_field(form, images):
    answer = form.plan(state(form, sample_prompts="a cat\na cat --seed 42", sample_every_n_steps=5), {}, images).checks
    assert answer.errors == {"sample_prompts": "Sample prompt 2: --seed is not supported in sample prompts; use --d."}


def test_time_is_not_known_without_earlier_run_and_estimated_from_one(form, images, settings):
    known = form.plan(state(form, num_repeats=4, max_train_epochs=3), {}, images).checks
    assert (known.time, known.time_note) == ("", UNKNOWN)
    trained = make_run(settings.outputs, "earlier", status="completed", **form.defaults("pocket") | {"lora_name": "earlier"})
    write_launch_spec(trained, LaunchSpec(run_id="id-earlier", attempt=1, trainer_dir="x", devices=DeviceRequest(kind="cpu")))
    record_processes(trained, "id-earlier", 1, None, dead_process("id-earlier"))
    write_line(trained, time=1000.0, phase="training", step=8, total_steps=8, loss=0.1, s_per_it=20.0)
    fresh = FormPlanner(settings, SessionIndex(settings.outputs))
    found = fresh.plan(state(form, num_repeats=4, max_train_epochs=3), {}, images).checks
    assert found.steps == 6
    assert found.time == "about 2 min"
    assert found.time_note.startswith("At the speed of an earlier run with these settings")
    assert fresh.plan(state(form, max_train_epochs=0), {}, images).checks.time_note == ""

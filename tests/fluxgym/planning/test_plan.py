"""The plan of a training: made from settings and images of any content, and launched by start and resume."""

import os
import tomllib
from dataclasses import replace

import pytest
from PIL import Image

from fluxgym.config.settings import IN_ADVANCED, SETTINGS, TrainConfig
from fluxgym.errors import DatasetError, ModelError
from fluxgym.planning.plan import plan
from fluxgym.runs.launch_spec import to_words
from fluxgym.runs.paths import OutputsPaths
from tests.compatibility.record_plans import load
from tests.support.photos import write_cats
from tests.support.small_installation import small_installation, state
from tests.support.source_tree import ROOT


@pytest.fixture(name="world")
def fixture_world(tmp_path):
    return small_installation(tmp_path)


@pytest.fixture(name="images")
def fixture_images(tmp_path):
    return write_cats(tmp_path / "images")


def test_plan_contains_files_and_command_of_start(world, images):
    planned = plan(state(), images, world)
    assert planned.can_start
    assert (planned.run.slug, planned.steps, planned.images.count, len(planned.images.sizes)) == ("my-cat", 8, 4, 4)
    assert tomllib.loads(planned.dataset_toml)["datasets"][0]["subsets"][0]["image_dir"] == str(planned.run.dataset)
    assert planned.options["--output_name"] == ("my-cat",)
    assert planned.sample_prompts.startswith("sks cat --w ")
    assert planned.launch_spec("id").argv[-len(to_words(planned.options)) :] == to_words(planned.options)


@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_image_whose_pixels_are_truncated_prevents_start(kind, world, images):
    with Image.open(images / "cat 0.png") as image:
        image.convert("RGB").save(images / "cut.png", format=kind)
    content = (images / "cut.png").read_bytes()
    (images / "cut.png").write_bytes(content[: len(content) * 3 // 4])
    assert [(each.field, each.message.partition(" ")[0]) for each in plan(state(), images, world).errors] == [("images", "cut.png")]


@pytest.mark.parametrize("name", ["a\x1b[31m.png", "a\nb.png", "a\tb.png", "a\x9bb.png", ".hidden.png", "a\\b.png", "a\u2028b.png"])
def test_image_name_that_export_could_not_hold_prevents_start(name, world, images):
    (images / "cat 0.png").rename(images / name)
    (error,) = plan(state(), images, world).errors
    assert (error.field, "rename or remove it" in error.message, error.message.isprintable()) == ("images", True, True)


@pytest.mark.parametrize(
    "make",
    [
        os.mkfifo,
        os.mkdir,
        lambda path: path.symlink_to("gone"),
        lambda path: path.symlink_to(path),
        lambda path: path.symlink_to("/dev/zero"),
    ],
)
def test_entry_with_images_name_that_is_not_file_is_reported(make, world, images, tmp_path):
    make(images / "odd.png")
    found = [each.message for each in plan(state(), images, world).problems if "odd.png" in each.message]
    assert len(found) == 1 and found[0].startswith("1 entry with an image's name is left out")
    (tmp_path / "only").mkdir()
    make(tmp_path / "only" / "odd.png")
    assert "odd.png" in next(each.message for each in plan(state(), tmp_path / "only", world).errors if each.field == "images")


@pytest.mark.parametrize("value", [0, [], {}])
def test_base_model_that_is_not_name_is_not_mistaken_for_missing_one(value, world, images):
    assert "base_model" in {each.field for each in plan(state(base_model=value), images, world).errors}


def test_long_value_of_advanced_setting_is_shown_cut(world, images):
    found = plan(state(advanced={"max_grad_norm": "9" * 400}), images, world).errors
    assert found and all(len(each.message) < 200 for each in found)


def test_damaged_regularization_image_is_beside_its_field(world, images, tmp_path):
    others = write_cats(tmp_path / "others", count=1)
    (others / "cat 0.png").write_bytes((others / "cat 0.png").read_bytes()[:-2000])
    planned = plan(state(advanced={"reg_data_dir": str(others)}), images, world)
    assert [each.field for each in planned.errors] == ["reg_data_dir"]


def test_relocated_plan_differs_only_in_paths_of_its_run(world, images):
    planned = plan(state(), images, world)
    other = planned.relocated(OutputsPaths(world.outputs).run("my-cat-2"))
    assert other == plan(state(), images, world, run=other.run)
    assert other.relocated(planned.run) == planned
    assert other.dataset_toml.replace("my-cat-2", "my-cat") == planned.dataset_toml
    assert other.options["--output_dir"] == (str(world.outputs / "my-cat-2"),)


def test_resuming_plan_adds_only_its_checkpoint(world, images, tmp_path):
    planned = plan(state(), images, world)
    other = planned.resuming(tmp_path / "x-state")
    assert dict(other.options) == {**planned.options, "--resume": (str(tmp_path / "x-state"),)}
    assert replace(other, options=planned.options, resume_from=None) == planned


def test_plan_with_wrong_settings_names_each_and_computes_nothing_from_defaults(world, images):
    planned = plan(state(seed="x", learning_rate="0", lora_name="../"), images, world)
    assert {problem.field for problem in planned.errors} == {"seed", "learning_rate", "lora_name"}
    assert (planned.steps, planned.dataset_toml, planned.options) == (None, "", {})
    assert planned.config.seed == SETTINGS["seed"].default


def test_raise_error_raises_first_error_separate_class(world, tmp_path):
    (world.models / "pocket" / "ae.safetensors").unlink()
    planned = plan(state(), tmp_path / "none", world)
    with pytest.raises(ModelError, match=r"lacks the VAE"):
        planned.raise_error()
    with pytest.raises(DatasetError):
        planned.raise_error(DatasetError)


def test_missing_trainer_is_error_of_plan(world, images, tmp_path):
    planned = plan(state(), images, replace(world, sd_scripts=tmp_path / "nowhere"))
    assert any("--sd-scripts" in problem.message for problem in planned.errors)


def test_recorded_state_gives_recorded_plan_error(world, images):
    for entry in load()["states"]:
        planned = plan(entry["state"], images, world)
        recorded = [part["error"] for part in (entry["plan"]["config"], entry["filled"]) if "error" in part]
        if not recorded and "error" not in entry["plan"]["slug"]:
            assert planned.config == TrainConfig.from_state(entry["filled"]), entry["state"]
        elif recorded and entry["state"].get("advanced") not in ([], "text", 5):  # which the model's defaults replace
            named = {
                "advanced" if problem.field in {setting.name for setting in IN_ADVANCED} else problem.field for problem in planned.errors
            }
            assert {field for _, field, _ in recorded} & named, entry["state"]


@pytest.mark.slow
def test_initial_epoch_beyond_end_is_error_of_advanced_settings(world, images):
    settings = replace(world, sd_scripts=ROOT / "sd-scripts")
    planned = plan(state(max_train_epochs=2, advanced={"initial_epoch": 3}), images, settings)
    steps = planned.steps
    assert [problem.message for problem in planned.errors] == [f"initial_epoch 3 leaves nothing to train: the training has {steps} steps."]
    assert [problem.field for problem in planned.errors] == ["advanced"]

"""The plan of a training: made from settings and images of any content, and launched by start and resume."""

import tomllib
from dataclasses import replace

import pytest

from fluxgym.config.settings import SETTINGS, TrainConfig
from fluxgym.errors import DatasetError, ModelError
from fluxgym.planning.plan import plan
from fluxgym.runs.launch_spec import to_words
from fluxgym.runs.paths import OutputsPaths
from tests.compatibility.record_plans import load
from tests.support.photos import write_cats
from tests.support.small_world import small_world, state
from tests.support.source_tree import ROOT


@pytest.fixture(name="world")
def fixture_world(tmp_path):
    return small_world(tmp_path)


@pytest.fixture(name="images")
def fixture_images(tmp_path):
    return write_cats(tmp_path / "images")


def test_a_plan_holds_what_start_writes_and_launches(world, images):
    planned = plan(state(), images, world)
    assert planned.can_start
    assert (planned.run.slug, planned.steps, planned.images.count, len(planned.images.sizes)) == ("my-cat", 8, 4, 4)
    assert tomllib.loads(planned.dataset_toml)["datasets"][0]["subsets"][0]["image_dir"] == str(planned.run.dataset)
    assert planned.options["--output_name"] == ("my-cat",)
    assert planned.sample_prompts.startswith("sks cat --w ")
    assert planned.launch_spec("id").argv[-len(to_words(planned.options)) :] == to_words(planned.options)


def test_a_relocated_plan_differs_only_in_the_paths_of_its_run(world, images):
    planned = plan(state(), images, world)
    other = planned.relocated(OutputsPaths(world.outputs).run("my-cat-2"))
    assert other == plan(state(), images, world, run=other.run)
    assert other.relocated(planned.run) == planned
    assert other.dataset_toml.replace("my-cat-2", "my-cat") == planned.dataset_toml
    assert other.options["--output_dir"] == (str(world.outputs / "my-cat-2"),)


def test_a_resuming_plan_adds_only_its_checkpoint(world, images, tmp_path):
    planned = plan(state(), images, world)
    other = planned.resuming(tmp_path / "x-state")
    assert dict(other.options) == {**planned.options, "--resume": (str(tmp_path / "x-state"),)}
    assert replace(other, options=planned.options, resume_from=None) == planned


def test_a_plan_with_wrong_settings_names_each_and_computes_nothing_from_defaults(world, images):
    planned = plan(state(seed="x", learning_rate="0", lora_name="../"), images, world)
    assert {problem.field for problem in planned.errors} == {"seed", "learning_rate", "lora_name"}
    assert (planned.steps, planned.dataset_toml, planned.options) == (None, "", {})
    assert planned.config.seed == SETTINGS["seed"].default


def test_raise_error_raises_the_first_error_of_its_own_class(world, tmp_path):
    (world.models / "pocket" / "ae.safetensors").unlink()
    planned = plan(state(), tmp_path / "none", world)
    with pytest.raises(ModelError, match=r"lacks the VAE"):
        planned.raise_error()
    with pytest.raises(DatasetError):
        planned.raise_error(DatasetError)


def test_a_missing_trainer_is_an_error_of_the_plan(world, images, tmp_path):
    planned = plan(state(), images, replace(world, sd_scripts=tmp_path / "nowhere"))
    assert any("--sd-scripts" in problem.message for problem in planned.errors)


def test_every_recorded_state_is_planned_with_the_error_that_it_had(world, images):
    for entry in load()["states"]:
        planned = plan(entry["state"], images, world)
        recorded = [part["error"] for part in (entry["plan"]["config"], entry["filled"]) if "error" in part]
        if not recorded and "error" not in entry["plan"]["slug"]:
            assert planned.config == TrainConfig.from_state(entry["filled"]), entry["state"]
        elif recorded and entry["state"].get("advanced") not in ([], "text", 5):  # which the model's defaults replace
            assert {field for _, field, _ in recorded} & {problem.field for problem in planned.errors}, entry["state"]


@pytest.mark.slow
def test_an_initial_epoch_beyond_the_end_is_an_error_of_the_advanced_settings(world, images):
    settings = replace(world, sd_scripts=ROOT / "sd-scripts")
    planned = plan(state(max_train_epochs=2, advanced={"initial_epoch": 3}), images, settings)
    steps = planned.steps
    assert [problem.message for problem in planned.errors] == [f"initial_epoch 3 leaves nothing to train: the training has {steps} steps."]
    assert [problem.field for problem in planned.errors] == ["advanced"]

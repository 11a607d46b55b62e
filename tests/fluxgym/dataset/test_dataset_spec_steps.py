"""Buckets and expected steps equal what the trainer really has."""

import tomllib
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fluxgym.config.settings import TrainConfig
from fluxgym.dataset.dataset_spec import bucket_rule, dataset_toml, expected_steps
from fluxgym.dataset.folder_index import FolderIndex
from fluxgym.errors import ConfigError
from library.data.dataset import build_dataset
from library.data.image_index import bucket_rule as trainer_rule
from library.data.schema import Dataset
from tests.support.trainer_config import trainer_config

SIDE = st.integers(1, 5000)


@given(SIDE, SIDE, st.sampled_from([64, 256, 512, 768, 1024]), st.booleans(), st.sampled_from([None, 40, 64]))
def test_bucket_rule_equals_trainers(width, height, resolution, no_upscale, low):
    advanced = {"bucket_no_upscale": True} if no_upscale else {}
    config = TrainConfig(lora_name="x", resolution=resolution, advanced=advanced | ({"min_bucket_reso": low} if low else {}))
    (dataset,) = tomllib.loads(dataset_toml(config, Path("/images")))["datasets"]
    keys = {key: value for key, value in dataset.items() if key in {field.name for field in fields(Dataset)} - {"resolution", "subsets"}}
    read = trainer_rule(Dataset(resolution=(resolution, resolution), subsets=(), **keys))
    assert read == bucket_rule(config)
    assert read.fit((width, height)) == bucket_rule(config).fit((width, height))


@pytest.mark.parametrize("enable_bucket", [True, False])
@pytest.mark.parametrize(
    "advanced",
    [
        {},
        {"train_batch_size": 3},
        {"train_batch_size": 2, "gradient_accumulation_steps": 4},
        {"validation_split": 0.4},
        {"validation_split": 0.3, "validation_seed": 5},
        {"validation_split": 0.3, "validation_seed": 6, "train_batch_size": 2},
    ],
)
@pytest.mark.parametrize("num_reg", [0, 2, 40])
def test_expected_steps_equal_trainers(enable_bucket, advanced, num_reg, tmp_path):
    shapes = [(100, 100), (200, 90), (90, 200), (120, 100), (64, 64)]
    for folder, count in (("train", 5), ("reg", num_reg)):
        (tmp_path / folder).mkdir()
        for index in range(count):
            Image.new("RGB", shapes[index % 5]).save(tmp_path / folder / f"{index:02d}.png")
    config = TrainConfig(
        lora_name="x", resolution=64, num_repeats=3, max_train_epochs=4, advanced=advanced | {"enable_bucket": enable_bucket}
    )
    reg = tmp_path / "reg" if num_reg else None
    (tmp_path / "d.toml").write_text(dataset_toml(config, tmp_path / "train", reg))
    flags = {name: value for name, value in advanced.items() if name.startswith("valid")}  # on the command line
    batches = build_dataset(trainer_config(seed=config.seed, dataset_config=tmp_path / "d.toml", **flags)).num_batches_per_epoch
    expected = -(-batches // advanced.get("gradient_accumulation_steps", 1)) * 4
    assert expected_steps(config, FolderIndex(tmp_path / "train").sizes(), FolderIndex(reg).sizes() if reg else ()) == expected


@pytest.mark.parametrize(
    "setting", [{"bucket_reso_steps": 40}, {"bucket_reso_steps": 2048}, {"min_bucket_reso": 600}, {"max_bucket_reso": 100}]
)
def test_bucket_settings_that_trainer_refuses_are_refused(setting):
    with pytest.raises(ConfigError, match="resolution 512"):
        expected_steps(TrainConfig(lora_name="x", advanced=setting), [(800, 600)])


def test_expected_steps_of_default_settings_equal_fluxgym_figure():
    config = TrainConfig(lora_name="x", advanced={"enable_bucket": False})
    assert expected_steps(config, [(800, 600)] * 6) == 6 * 10 * 16
    assert expected_steps(config, []) == 0


def test_dataset_toml_has_kohya_keys():
    config = TrainConfig(lora_name="x", concept_sentence="sks cat", advanced={"train_batch_size": 2, "flip_aug": True})
    table = tomllib.loads(dataset_toml(config, "/images"))
    assert table["general"] == {"shuffle_caption": False, "caption_extension": ".txt", "keep_tokens": 1, "flip_aug": True}
    (dataset,) = table["datasets"]
    assert (dataset["resolution"], dataset["batch_size"], dataset["enable_bucket"]) == (512, 2, True)
    assert dataset["min_bucket_reso"] <= 512 <= dataset["max_bucket_reso"]


def test_resolution_off_grid_names_nearest_two():
    with pytest.raises(ConfigError, match="496 or 512"):
        dataset_toml(TrainConfig(lora_name="x", resolution=500), "/images")


def test_caption_extension_applies_only_to_regularization_images():
    table = tomllib.loads(dataset_toml(TrainConfig(lora_name="x", advanced={"caption_extension": ".caption"}), "/images", "/reg"))
    assert table["general"]["caption_extension"] == ".txt"
    assert [subset.get("caption_extension") for subset in table["datasets"][0]["subsets"]] == [None, ".caption"]


def test_validation_split_that_leaves_no_image_is_error_of_advanced_settings():
    config = TrainConfig(lora_name="x", advanced={"validation_split": 1})
    with pytest.raises(ConfigError, match="validation_split holds every image out") as caught:
        expected_steps(config, [(800, 600)] * 2)
    assert caught.value.field == "advanced"
    assert expected_steps(config, []) == 0

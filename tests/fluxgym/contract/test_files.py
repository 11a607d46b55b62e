"""File names are those of earlier versions and of kohya."""

from datetime import datetime

import pytest

from fluxgym.contract import files
from fluxgym.contract.files import (
    SampleName,
    SavedName,
    archived_name,
    epoch_label,
    epoch_suffix,
    lora_name,
    parse_archived_name,
    parse_lora_name,
    parse_sample_name,
    parse_short_state_name,
    parse_state_name,
    sample_name,
    state_name,
    step_label,
    step_suffix,
    with_output_name,
)  # fmt: skip


def test_names_are_those_of_earlier_versions():
    values = {name: value for name, value in vars(files).items() if name.isupper() and not name.startswith("_")}
    assert values == {
        "UI_STATE": "ui_state.json", "PROGRESS": "progress.jsonl", "TRAINING_LOG": "training.log", "MONITOR_LOG": "monitor.log",
        "TRAINING_PID": "training.pid", "MONITOR_PID": "monitor.pid", "DATASET_TOML": "dataset.toml", "SAMPLE_PROMPTS": "sample_prompts.txt",
        "TRAIN_SH": "train.sh", "README": "README.md", "DATASET_FOLDER": "dataset", "SAMPLE_FOLDER": "sample", "HISTORY_FOLDER": "history",
        "PRIVATE_FOLDER": ".run", "RUN_ID_VARIABLE": "FLUXGYM_RUN_ID", "ATTEMPT_VARIABLE": "FLUXGYM_ATTEMPT", "LORA_ENDING": ".safetensors",
        "STATE_ENDING": "-state", "PARTIAL_ENDING": ".partial", "MANIFEST": "manifest.json", "NETWORK": "model.safetensors",
        "OPTIMIZER": "optimizer.safetensors", "OPTIMIZER_JSON": "optimizer.json", "SCHEDULER": "scheduler.json",
        "TRAIN_STATE": "train_state.json", "KOHYA_NETWORKS": ("model.safetensors", "pytorch_model.bin"), "KOHYA_OPTIMIZER": "optimizer.bin",
        "KOHYA_SCHEDULER": "scheduler.bin", "KOHYA_RANDOM_STATES": "random_states_0.pkl", "KOHYA_POSITION": "fluxgym_place.json",
        "CACHE_FOLDER": ".fluxgym-cache", "LOGS_FOLDER": "logs", "ARCHIVED_TIME": "%Y%m%d-%H%M%S",
    }  # fmt: skip


def test_saved_files_have_kohya_names():
    assert lora_name("cat") == "cat.safetensors"
    assert lora_name("cat", epoch_suffix(4)) == "cat-000004.safetensors"
    assert state_name("cat", step_suffix(120)) == "cat-step00000120-state"
    assert sample_name("cat", "e000004", 1, stamp="20240102030405", seed=7) == "cat_e000004_01_20240102030405_7.png"
    assert sample_name("cat", "000120", 0, stamp="20240102030405", seed=None) == "cat_000120_00_20240102030405.png"


SUFFIXES = {"": (None, None), epoch_suffix(4): (4, None), step_suffix(120): (None, 120)}
OWNERS = ("cat", "cat-000003", "cat-state", "my cat-step00000001", "猫")


@pytest.mark.parametrize(("format_name", "parse_name"), [(lora_name, parse_lora_name), (state_name, parse_state_name)])
@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("owner", OWNERS)
def test_names_of_saves_are_read_as_they_are_written(format_name, parse_name, suffix, owner):
    epoch, step = SUFFIXES[suffix]
    saved = parse_name(format_name(owner, suffix), owner)
    assert saved == SavedName(output_name=owner, epoch=epoch, step=step)
    assert saved.suffix == suffix
    if suffix:  # without the output name, "cat-000003" could be epoch 3 of cat
        assert parse_name(format_name(owner, suffix)) == saved
    assert parse_name(format_name(owner, suffix), "dog") is None


def test_name_that_ends_like_save_belongs_to_output_name_that_is_known():
    assert parse_state_name("cat-000003-state") == SavedName(output_name="cat", epoch=3)
    assert parse_state_name("cat-000003-state", "cat-000003") == SavedName(output_name="cat-000003")


@pytest.mark.parametrize("name", ["cat-state-2", "cat", "cat.safetensors.partial", "cat-000004-state.partial"])
def test_other_names_are_not_those_of_saves(name):
    assert parse_state_name(name) is None
    assert parse_lora_name(name) is None


@pytest.mark.parametrize(("name", "saved"), [
    ("cat-4-state", SavedName(output_name="cat", epoch=4)), ("cat-000004-state", None), ("cat-state", None), ("-4-state", None),
])  # fmt: skip
def test_checkpoint_can_be_named_shorter(name, saved):
    assert parse_short_state_name(name) == saved


@pytest.mark.parametrize("seed", [None, 0, 7])
@pytest.mark.parametrize(
    ("label", "epoch", "step"), [(step_label(120), None, 120), (step_label(1_234_567), None, 1_234_567), (epoch_label(4), 4, None)]
)
@pytest.mark.parametrize("owner", [*OWNERS, "cat_000120_00"])
def test_names_of_sample_images_are_read_as_they_are_written(owner, label, epoch, step, seed):
    name = sample_name(owner, label, 12, stamp="20240102030405", seed=seed)
    sample = parse_sample_name(name)
    assert sample == SampleName(output_name=owner, label=label, index=12, stamp="20240102030405", seed=seed)
    assert (sample.epoch, sample.step) == (epoch, step)
    assert parse_sample_name(f"{name}.partial") is None


def test_lora_gets_another_output_name():
    assert with_output_name("cat-000004.safetensors", "cat", "dog") == "dog-000004.safetensors"
    assert with_output_name("bird.safetensors", "cat", "dog") == "bird.safetensors"


@pytest.mark.parametrize("slug", OWNERS)
def test_names_in_archive_are_read_as_they_are_written(slug):
    moment = datetime(2026, 11, 30, 1, 2, 3)
    assert parse_archived_name(archived_name(slug, moment, "1f2e")) == (slug, moment)


def test_impossible_time_in_archive_is_unknown():
    assert parse_archived_name("cat-20261399-000000-1f2e") == ("cat", None)
    assert parse_archived_name("cat-20261130-000000") is None

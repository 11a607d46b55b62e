"""Which settings must be the same at a resume, and which changes of others are reported."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from library.data.schema import Dataset, Subset
from library.errors import TrainerError
from library.training.checkpoint import TrainState
from library.training.compatibility import (
    check_fixed,
    fixed_settings,
    layout_of,
    other_settings,
    print_changed_settings,
)
from tests.support.trainer_config import trainer_config

STATE = TrainState(step=3, epoch=0, batch_in_epoch=3, total_steps=20, seed=42, fixed={})


def image(name="a.png", repeats=2, size=(64, 64), is_reg=False, batch_size=1):
    return SimpleNamespace(
        path=Path("/anywhere", name),
        num_repeats=repeats,
        fit=SimpleNamespace(bucket=size),
        subset=Subset(is_reg=is_reg),
        dataset=Dataset(resolution=(64, 64), batch_size=batch_size, subsets=()),
    )


def with_options(**options):
    """Data of one image whose subset bears the options."""
    subset = Subset(image_dir="/anywhere", **options)
    return data(replace_in(image(), subset=subset, dataset=Dataset(resolution=(64, 64), subsets=(subset,))))


def replace_in(found, **changes):
    return SimpleNamespace(**(vars(found) | changes))


def data(*images):
    return SimpleNamespace(num_batches_per_epoch=4, images=images or (image(),))


@pytest.mark.parametrize(
    ("argv", "named"),
    [
        (["--seed", "2"], "seed = 1, now it is 2"),
        (["--optimizer_type", "Lion"], "optimizer_type = adamw, now it is lion"),
        (["--network_dim", "8"], "network_dim = 4, now it is 8"),
        (["--network_alpha", "2"], "network_alpha"),
        (["--network_args", "train_blocks=single"], "network_args"),
        (["--gradient_accumulation_steps", "2"], "gradient_accumulation_steps"),
    ],
)
def test_settings_that_define_position_must_be_same(argv, named):
    state = replace(STATE, fixed=fixed_settings(trainer_config(), data()))
    check_fixed(state, fixed_settings(trainer_config("--learning_rate", "1", "--max_train_epochs", "9"), data()), "x-state")
    with pytest.raises(TrainerError, match=named):
        check_fixed(state, fixed_settings(trainer_config(*argv), data()), "x-state")


@pytest.mark.parametrize(
    "change",
    [{"name": "b.png"}, {"repeats": 3}, {"size": (64, 128)}, {"is_reg": True}, {"batch_size": 2}],
)
def test_other_images_are_refused(change):
    state = replace(STATE, fixed=fixed_settings(trainer_config(), data()))
    assert layout_of([image()]) != layout_of([image(), image()])
    with pytest.raises(TrainerError, match="of the images changed since the checkpoint"):
        check_fixed(state, fixed_settings(trainer_config(), data(image(**change))), "x-state")


def test_another_number_of_images_is_reported_with_what_to_do():
    state = replace(STATE, fixed=fixed_settings(trainer_config(), data()) | {"num_batches_per_epoch": 2})
    with pytest.raises(TrainerError, match=r"2 batches then and has 4 now\. Put the images .* back .* --network_weights"):
        check_fixed(state, fixed_settings(trainer_config(), data()), "x-state")


def test_checkpoint_of_earlier_version_with_fewer_settings_is_accepted():
    check_fixed(replace(STATE, fixed={"seed": 1}), fixed_settings(trainer_config("--network_dim", "8"), data()), "x-state")


@pytest.fixture(name="models")
def fixture_models(tmp_path):
    names = {"pretrained_model_name_or_path": "flux", "ae": "ae", "clip_l": "clip_l", "t5xxl": "t5xxl", "base_weights": "base"}
    for name in names.values():
        save_file({"a": torch.ones(9)}, tmp_path / f"{name}.safetensors")
    return [word for flag, name in names.items() for word in (f"--{flag}", str(tmp_path / f"{name}.safetensors"))]


def test_changed_settings_are_printed(models, capsys):
    state = replace(STATE, settings=other_settings(trainer_config("--learning_rate", "0.1", "--ema_decay", "0.9", *models), data()))
    same = trainer_config("--learning_rate", "0.1", "--ema_decay", "0.9", "--save_every_n_steps", "5", "--output_dir", "o", *models)
    print_changed_settings(state, other_settings(same, data()))
    assert capsys.readouterr().out == ""
    print_changed_settings(state, other_settings(trainer_config("--learning_rate", "0.2", "--loss_type", "l1", *models), data()))
    assert "ema_decay 0.9 → off, learning_rate 0.1 → 0.2, loss_type l2 → l1" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["flux", "ae", "clip_l", "t5xxl", "base"])
def test_another_model_under_same_name_is_reported_and_moved_one_is_not(models, tmp_path, name, capsys):
    state = replace(STATE, settings=other_settings(trainer_config(*models), data()))
    (tmp_path / "elsewhere").mkdir()
    path = tmp_path / f"{name}.safetensors"
    moved = path.rename(tmp_path / "elsewhere" / path.name)
    print_changed_settings(state, other_settings(trainer_config(*[str(moved) if word == str(path) else word for word in models]), data()))
    assert capsys.readouterr().out == ""
    save_file({"a": torch.zeros(9)}, path)
    print_changed_settings(state, other_settings(trainer_config(*models), data()))
    assert capsys.readouterr().out.count("content of --") == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [({"flip_aug": True}, "data set 1, subset 1, flip_aug off → True"), ({"validation_split": 0.2}, "validation_split off → 0.2")],
)
def test_another_option_of_data_set_is_reported(models, options, words, capsys):
    state = replace(STATE, settings=other_settings(trainer_config(*models), with_options()))
    print_changed_settings(state, other_settings(trainer_config(*models), with_options()))
    assert capsys.readouterr().out == ""
    print_changed_settings(state, other_settings(trainer_config(*models), with_options(**options)))
    assert words in capsys.readouterr().out

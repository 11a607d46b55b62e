"""The page's list of flags equals the trainer's parser; unusable flags are refused with their names."""

import json
from pathlib import Path

import pytest

from fluxgym.config.settings import DATASET_KEYS, check_advanced
from fluxgym.config.trainer_flags import SUBSET_FLAGS, all_flags, check_flag
from fluxgym.errors import ConfigError
from library.cli import flags as trainer


def test_flags_json_equals_trainer_flags():
    committed = json.loads((Path("fluxgym/config/flags.json")).read_text())
    assert committed == [flag.to_json() for flag in trainer.all_flags().values()], (
        "run: python sd-scripts/library/cli/flags.py > fluxgym/config/flags.json"
    )
    assert set(all_flags()) == {action.dest for action in trainer.build_parser()._actions} - {"help"}


def test_every_dataset_key_is_flag():
    assert {*DATASET_KEYS, *SUBSET_FLAGS} <= set(all_flags())


@pytest.mark.parametrize(
    ("name", "value", "named"),
    [
        ("lerning_rate", 1, "learning_rate"),
        ("frobnicate", 1, "frobnicate"),
        ("output_dir", "x", "output_dir"),
        ("in_json", "x", "in_json"),
        ("network_alpha", "much", "much"),
        ("train_batch_size", 1.5, "1.5"),
        ("train_batch_size", True, "True"),
        ("train_batch_size", 0, "at least 1"),
        ("bucket_reso_steps", 0, "at least 16"),
        ("unet_lr", 1e308, "at most 10"),
        ("network_alpha", 1e308, "at most 1e[+]06"),
        ("loss_type", "l3", "l3"),
        ("max_grad_norm", float("nan"), "nan"),
        ("metadata_author", "--config_file", "dash"),
        ("metadata_title", "a\0b", "metadata_title"),
        ("metadata_title", "half a letter \ud800", "metadata_title"),
        ("half \ud800", 1, "name"),
        ("optimizer_args", ["weight_decay=1", "-x"], "dash"),
    ],
)
def test_unusable_flag_is_refused_with_its_name(name, value, named):
    with pytest.raises(ConfigError, match=named):
        check_advanced(name, value)


def test_usable_flag_is_accepted():
    for name, value in {
        "network_alpha": 16,
        "enable_bucket": False,
        "optimizer_args": ["weight_decay=0.1"],
        "lr_warmup_steps": 0.1,
    }.items():
        check_advanced(name, value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a" * 21_000, "An advanced setting's name is too long: it has 21,000 characters, and at most 20,000 are possible."),
        ("a\0", "An advanced setting's name holds a character that files cannot hold."),
        ("a\ud800", "An advanced setting's name holds a character that files cannot hold."),
    ],
)
def test_name_that_cannot_be_written_is_refused_for_its_reason(name, message):
    with pytest.raises(ConfigError) as caught:
        check_flag(name, "1")
    assert str(caught.value) == message

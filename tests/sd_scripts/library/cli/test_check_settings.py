"""The check of the app before Start refuses what the trainer refuses, and imports no custom class of the user."""

from pathlib import Path

import pytest

from library.cli.check_settings import check
from library.cli.parse import parse
from tests.support.photos import write_cats
from tests.support.source_tree import ROOT
from tests.support.tiny_models import model_flags


@pytest.fixture(name="argv")
def fixture_argv(tmp_path):
    images = write_cats(tmp_path / "images", count=1)
    (tmp_path / "d.toml").write_text(f'[[datasets]]\nresolution = 64\n[[datasets.subsets]]\nimage_dir = "{images}"\n')
    return [
        *model_flags(ROOT / "models" / "pocket"),
        "--seed",
        "1",
        "--output_dir",
        str(tmp_path / "out"),
        "--dataset_config",
        str(tmp_path / "d.toml"),
    ]


def test_settings_that_can_be_trained_are_accepted(argv):
    assert check(argv) == (None, [])


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--optimizer_type", "nosuch"], "--optimizer_type nosuch is not an optimizer"),
        (["--lr_scheduler_type", "nosuch"], "--lr_scheduler_type nosuch"),
        (["--network_args", "train_blocks=some"], "--network_args train_blocks=some"),
        (
            ["--network_args", "train_double_block_indices=0-2"],
            "train_double_block_indices=0-2 is not supported; the model's blocks are 0 to 1",
        ),
        (["--network_args", "train_single_block_indices=6"], "the model's blocks are 0 to 5"),
        (
            ["--network_args", "train_double_block_indices=none", "train_single_block_indices=none", "--network_train_unet_only"],
            "Nothing would be trained",
        ),
        (["--network_weights", "/no/such"], "--network_weights /no/such is missing"),
        (["--min_bucket_reso", "512", "--enable_bucket"], "min_bucket_reso 512"),
        (["--optimizer_args", "capturable=True"], "--optimizer_args capturable=True does not fit AdamW: If capturable=True"),
        (["--optimizer_args", "foreach=True", "fused=True"], "--optimizer_args foreach=True fused=True does not fit AdamW"),
        (["--optimizer_args", "eps=1e30"], "eps=1e30 does not fit AdamW: its steps leave the weights as they are"),
        (["--learning_rate", "1e-45"], "--learning_rate 1e-45 is so small that nothing would be learned"),
        (["--unet_lr", "1e-30"], "--unet_lr 1e-30 is so small"),
        (["--text_encoder_lr", "0", "1e-30"], "--text_encoder_lr 1e-30 is so small"),
        (["--network_train_text_encoder_only", "--text_encoder_lr", "0"], "trains nothing"),
        (["--network_alpha", "1e-30"], "--network_alpha 1e-30 is so small"),
        (["--network_dropout", "0.9999999"], "--network_dropout 0.9999999 must be at least 0 and at most 0.999999"),
        (["--network_args", "rank_dropout=1"], "--network_args rank_dropout=1.0 is not supported"),
        (["--network_args", "module_dropout=0.99999999"], "--network_args module_dropout=0.99999999 is not supported"),
        (["--network_args", "loraplus_lr_ratio=1e-40"], "loraplus_lr_ratio=1e-40 is not supported"),
        (["--network_args", "network_reg_lrs=img=1e-40"], "the learning rate is so small"),
        (["--max_grad_norm", "1e-30"], "--max_grad_norm 1e-30 is so small"),
        (["--scale_weight_norms", "1e-30"], "--scale_weight_norms 1e-30 is so small"),
        (["--train_batch_size", "1000000000"], "--train_batch_size 1000000000 is too large; it must be at most 4096"),
        (["--save_every_n_steps", "1" + "0" * 30], "is too large; it must be at most 10000000"),
        (["--optimizer_args", "eps=0"], "--optimizer_args eps=0 does not fit AdamW"),
        (["--lr_scheduler_type", "StepLR", "--lr_scheduler_args", "step_size=0"], "--lr_scheduler_args step_size=0 does not fit StepLR"),
    ],
)
def test_settings_refused_by_trainer_are_refused(argv, more, words):
    assert words in check([*argv, *more])[0]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--initial_epoch", "5"], "--initial_epoch 5 leaves nothing to train: the training has 1 steps."),
        (["--initial_step", "5", "--skip_until_initial_step"], "--initial_step 5 leaves nothing to train: the training has 1 steps."),
        (["--lr_scheduler", "cosine", "--lr_warmup_steps", "5"], "--lr_warmup_steps 5 gives the only step"),
    ],
)
def test_settings_that_depend_on_steps_are_refused_if_steps_are_known(argv, more, words):
    given = [*argv, "--max_train_epochs", "1", *more]
    assert check(given, steps_per_epoch=1)[0].startswith(words)
    assert check(given) == (None, [])


def test_optimizer_that_needs_gpu_is_refused_only_without_one(argv):
    assert check([*argv, "--optimizer_args", "capturable=True"], has_gpu=True) == (None, [])


@pytest.mark.parametrize("chosen", ["optimizer_type", "lr_warmup_steps", "use_8bit_adam", "full_bf16"])
def test_optimizer_is_tried_only_if_a_chosen_flag_changes_it(argv, chosen):
    given = [*argv, "--optimizer_type", "nosuch"]
    assert check(given, chosen=["console_log_file", "flip_aug"]) == (None, [])
    assert "nosuch is not an optimizer" in check(given, chosen=["console_log_file", chosen])[0]


def test_class_of_users_own_is_not_imported(argv, tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text("raise SystemExit('it was imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert check([*argv, "--optimizer_type", "mine.Class", "--optimizer_args", "a=1"]) == (None, ["optimizer_type"])
    assert check([*argv, "--lr_scheduler_type", "mine.Class"]) == (None, ["lr_scheduler_type"])


def test_schedule_that_never_reaches_rate_that_teaches_is_refused(argv):
    given = [*argv, "--max_train_epochs", "2", "--learning_rate", "1e-4", "--lr_scheduler", "linear", "--lr_warmup_steps", "10000000"]
    given[given.index("1e-4")] = "1e-9"
    assert "so nothing would be learned" in check(given, steps_per_epoch=2)[0]


def test_what_likely_teaches_nothing_is_a_warning(argv):
    more = ["--learning_rate", "1e-9", "--network_dropout", "0.99", "--caption_dropout_rate", "1"]
    assert check([*argv, *more]) == (None, [])
    warned = "\n".join(parse([*argv, *more]).warnings)
    assert "--learning_rate 1e-09 is so small that the training is likely to learn nothing" in warned
    assert "--network_dropout 0.99 leaves 0.01" in warned


def test_control_character_in_text_of_data_set_is_refused(argv):
    toml = Path(argv[-1])
    toml.write_text(toml.read_text() + 'class_tokens = "a\\u0007b"\n')
    assert "class_tokens holds the control character U+0007" in check(argv)[0]

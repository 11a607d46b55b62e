"""What a data set cannot have is one sentence; every key of kohya's schema is known."""

import pytest

from library.data.dataset_toml import read_datasets
from library.data.schema import SHARED_KEYS, SUBSET_FIELDS
from library.errors import TrainerError
from tests.support.trainer_config import trainer_config
from tests.support.training_data import SUBSET_TOML

KOHYAS = {  # ConfigSanitizer's schema, sd-scripts 48d368fa
    "subset": """color_aug face_crop_aug_range flip_aug num_repeats random_crop shuffle_caption keep_tokens keep_tokens_separator
        secondary_separator caption_separator enable_wildcard token_warmup_min token_warmup_step caption_prefix caption_suffix
        custom_attributes resize_interpolation caption_dropout_every_n_epochs caption_dropout_rate caption_tag_dropout_rate caption_extension
        class_tokens cache_info image_dir is_reg alpha_mask metadata_file conditioning_data_dir""",
    "above": """color_aug face_crop_aug_range flip_aug num_repeats random_crop shuffle_caption keep_tokens keep_tokens_separator
        secondary_separator caption_separator enable_wildcard token_warmup_min token_warmup_step caption_prefix caption_suffix
        custom_attributes resize_interpolation caption_dropout_every_n_epochs caption_dropout_rate caption_tag_dropout_rate caption_extension
        class_tokens cache_info batch_size bucket_no_upscale bucket_reso_steps enable_bucket max_bucket_reso min_bucket_reso validation_seed
        validation_split resolution network_multiplier""",
}


@pytest.fixture(name="write")
def fixture_write(tmp_path):
    (tmp_path / "cats").mkdir()

    def write(subset="", dataset="", **flags):
        text = f"[[datasets]]\nresolution = 64\n{dataset}\n{SUBSET_TOML}{subset}\n".replace("CATS", str(tmp_path / "cats"))
        (tmp_path / "dataset.toml").write_text(text)
        return read_datasets(trainer_config(dataset_config=str(tmp_path / "dataset.toml"), **flags).data)

    return write


def test_every_key_of_kohya_schema_is_supported():
    assert set(KOHYAS["subset"].split()) <= {*SUBSET_FIELDS, "cache_info"}
    assert set(KOHYAS["above"].split()) <= SHARED_KEYS


@pytest.mark.parametrize(
    ("subset", "dataset", "flags", "named"),
    [
        ("shuffle_caption = true", "", {"cache_text_encoder_outputs": True}, "shuffle_caption"),
        ("caption_dropout_rate = 0.1", "", {"cache_text_encoder_outputs": True}, "caption_dropout_rate"),
        ("caption_tag_dropout_rate = 0.1", "", {"cache_text_encoder_outputs": True}, "caption_tag_dropout_rate"),
        ("caption_dropout_every_n_epochs = 2", "", {"cache_text_encoder_outputs": True}, "caption_dropout_every_n_epochs"),
        ("enable_wildcard = true", "", {"cache_text_encoder_outputs": True}, "enable_wildcard"),
        ("token_warmup_step = 0.5", "", {"cache_text_encoder_outputs": True}, "token_warmup_step"),
        ("", "", {"cache_text_encoder_outputs": True, "token_warmup_step": 20.0}, "token_warmup_step"),
        ("random_crop = true", "", {"cache_latents": True}, "random_crop"),
        ("color_aug = true", "", {"cache_latents": True}, "color_aug"),
        ("face_crop_aug_range = [1, 3.0]", "", {"cache_latents": True}, "face_crop_aug_range"),
        ("face_crop_aug_range = [1.0, 3.0]", "enable_bucket = true\nmin_bucket_reso = 16", {}, "enable_bucket"),
        ("face_crop_aug_range = [3.0, 1.0]", "", {}, "face_crop_aug_range"),
        ("face_crop_aug_range = [1.0]", "", {}, "face_crop_aug_range"),
        ('face_crop_aug_range = ["a", 2]', "", {}, "face_crop_aug_range"),
        ("face_crop_aug_range = 2.0", "", {}, "two numbers"),
        ("", "", {"face_crop_aug_range": "a,b"}, "--face_crop_aug_range"),
        ('conditioning_data_dir = "CATS"', "", {}, "--masked_loss"),
        ('conditioning_data_dir = "CATS/none"', "", {"masked_loss": True}, "none is missing"),
        ('conditioning_data_dir = "CATS"\nalpha_mask = true', "", {"masked_loss": True}, "alpha_mask"),
        ('metadata_file = "CATS/none.json"', "", {}, "none.json is missing"),
        ("validation_split = 1.5", "", {}, "validation_split"),
        ("", "validation_split = -0.5", {}, "validation_split"),
        ("", 'validation_seed = "one"', {}, "validation_seed"),
        ("token_warmup_min = -1", "", {}, "token_warmup_min"),
        ("custom_attributes = 3", "", {}, "a table"),
        ('resize_interpolation = "magic"', "", {}, "resize_interpolation"),
        ("batch_size = 2", "", {}, "batch_size is not a known key"),
        ("", "is_reg = true", {}, "is_reg is not a known key"),
        ("", 'image_dir = "CATS"', {}, "image_dir is not a known key"),
    ],
)
def test_invalid_value_is_reported_with_its_key(subset, dataset, flags, named, write):
    with pytest.raises(TrainerError, match=named) as caught:
        write(subset, dataset, **flags)
    assert str(caught.value).count("\n") == 0


def test_keys_without_effect_are_reported(write, capsys):
    write("cache_info = true", "network_multiplier = 0.5")
    printed = capsys.readouterr().err
    assert "network_multiplier has no effect" in printed
    assert "cache_info has no effect" in printed
    write("cache_info = false", "network_multiplier = 1.0")
    assert not capsys.readouterr().err

"""dataset.toml: kohya's keys and defaults; unknown, mistyped and missing keys are reported."""

import json

import pytest
import tomli_w

from library.data.dataset_toml import read_datasets
from library.errors import TrainerError, warn
from tests.support.trainer_config import trainer_config
from tests.support.training_data import SUBSET_TOML


@pytest.fixture(name="write")
def fixture_write(tmp_path):
    (tmp_path / "cats").mkdir()
    (tmp_path / "dogs").mkdir()

    def write(text, **changes):
        path = tmp_path / "dataset.toml"
        path.write_text(text.replace("CATS", str(tmp_path / "cats")))
        return read_datasets(trainer_config(dataset_config=str(path), **changes).data, warn)

    return write


def test_general_section_is_inherited_and_overridden(write):
    (dataset,) = write(
        f'[general]\ncaption_extension = ".txt"\nkeep_tokens = 1\n[[datasets]]\nresolution = [96, 64]\nbatch_size = 3\n{SUBSET_TOML}keep_tokens = 2\n'
        f'[[datasets.subsets]]\nimage_dir = "CATS/../dogs"\nis_reg = true\n'
    )
    assert (dataset.resolution, dataset.batch_size, dataset.enable_bucket) == ((96, 64), 3, False)
    assert [(s.caption_extension, s.keep_tokens, s.is_reg) for s in dataset.subsets] == [(".txt", 2, False), (".txt", 1, True)]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[[datasets]]\nresolution = 64\nhue = 1\n" + SUBSET_TOML, "hue"),
        ("[[datasets]]\nresolution = 64\n" + SUBSET_TOML + "num_repeat = 1\n", "num_repeat"),
        ("[[datasets]]\nresolution = 64\n" + SUBSET_TOML + 'num_repeats = "ten"\n', "num_repeats"),
        ("[[datasets]]\nresolution = 64\n" + SUBSET_TOML + "num_repeats = 0\n", "num_repeats"),
        ("[[datasets]]\nresolution = 64\nbatch_size = true\n" + SUBSET_TOML, "batch_size"),
        ("[[datasets]]\nresolution = 100\n" + SUBSET_TOML, "multiple of 16"),
        ("[[datasets]]\n" + SUBSET_TOML, "resolution"),
        ('[[datasets]]\nresolution = 64\n[[datasets.subsets]]\nimage_dir = "nowhere"\n', "nowhere"),
        ("[[datasets]]\nresolution = 64\n", "subsets"),
        ("[[datasets]]\nresolution = 64\nenable_bucket = true\n" + SUBSET_TOML, "min_bucket_reso"),
        ("x = \n", "valid TOML"),
        ("general = 3\n[[datasets]]\nresolution = 64\n" + SUBSET_TOML, "general"),
        ("[[datasets]]\nresolution = 64\nsubsets = 3\n", "subsets"),
        ("[[datasets]]\nresolution = 64\n" + SUBSET_TOML + 'caption_extension = "./txt"\n', "caption_extension"),
        ("[[datasets]]\nresolution = 64\n" + SUBSET_TOML + 'caption_extension = ""\n', "caption_extension"),
        ("[[datasets]]\nresolution = 64\n" + SUBSET_TOML + 'caption_separator = ""\n', "caption_separator"),
        ("[[datasets]]\nresolution = 64\n" + SUBSET_TOML + "caption_dropout_rate = 1.5\n", "caption_dropout_rate"),
        ("[[datasets]]\nresolution = 64\n" + SUBSET_TOML + "caption_tag_dropout_rate = nan\n", "caption_tag_dropout_rate"),
        ("[[datasets]]\nresolution = 64\n" + SUBSET_TOML + "keep_tokens = -1\n", "keep_tokens"),
        (
            "[[datasets]]\nresolution = 64\nenable_bucket = true\nmin_bucket_reso = 16\nbucket_reso_steps = 128\n" + SUBSET_TOML,
            "bucket_reso_steps",
        ),
        ("[general]\n", "datasets"),
        ("[generl]\n", "generl is not a known key; perhaps general is meant"),
        ("[[datasets]]\nresolution = 64\n" + SUBSET_TOML + 'image_directory = "x"\n', "image_directory is not a known key; use image_dir"),
        ('[[datasets]]\nresolution = 64\nimage_directory = "x"\n', r"use image_dir in \[\[datasets\.subsets\]\]"),
        ('[[datasets]]\nresolution = 64\nimage_dir = "x"\n', r"image_dir belongs in \[\[datasets\.subsets\]\]"),
        ("[[datasets]]\nresolution = 64\n" + SUBSET_TOML + "batch_size = 2\n", r"batch_size belongs in \[\[datasets\]\]"),
        ("[[datasets]]\nresolution = 64\n" + SUBSET_TOML + "num_repeat = 1\n", "perhaps num_repeats is meant"),
        (
            '[[datasets]]\nresolution = 64\n[[datasets.subsets]]\nimage_dir = "C:\\Users\\me"\n',
            "Use single quotes or forward slashes for Windows",
        ),
        ('[[datasets]]\nresolution = 64\n[[datasets.subsets]]\nimage_dir = "C:\\temp"\n', r"C:\\temp is missing\. .* Use single quotes"),
    ],
)
def test_invalid_value_is_reported(text, named, write):
    with pytest.raises(TrainerError, match=named):
        write(text)


def test_file_that_cannot_be_read_is_reported(tmp_path):
    for name in (".", "missing.toml"):
        with pytest.raises(TrainerError, match="dataset_config"):
            read_datasets(trainer_config(dataset_config=str(tmp_path / name)).data, warn)


@pytest.mark.parametrize("name", ["meta.json", "meta.toml"])
def test_metadata_file_is_recognized(name, tmp_path):
    text = json.dumps({"p0": {"caption": "a cat"}}) if name.endswith("json") else '[p0]\ncaption = "a cat"\n'
    (tmp_path / name).write_text(text)
    with pytest.raises(TrainerError, match=r"is a metadata file .* --in_json"):
        read_datasets(trainer_config(dataset_config=str(tmp_path / name)).data, warn)


def test_caption_augmentation_forbids_text_cache(write):
    text = "[[datasets]]\nresolution = 64\n" + SUBSET_TOML + "shuffle_caption = true\n"
    assert write(text)[0].subsets[0].shuffle_caption
    with pytest.raises(TrainerError, match="shuffle_caption"):
        write(text, cache_text_encoder_outputs=True)


def test_folder_with_no_repeats_is_left_out_with_a_warning(tmp_path):
    (tmp_path / "0_cat").mkdir()
    data = trainer_config(train_data_dir=str(tmp_path), resolution="64").data
    warnings = []
    with pytest.raises(TrainerError, match="contains no folder named like"):
        read_datasets(data, warnings.append)
    assert warnings == [f"{tmp_path / '0_cat'} is not used: its name gives it 0 repeats"]
    (tmp_path / "2_cat").mkdir()
    (dataset,) = read_datasets(data, warnings.append)
    assert [subset.num_repeats for subset in dataset.subsets] == [2]


def test_kohya_named_folders_give_repeats_and_class(tmp_path):
    (tmp_path / "10_sks cat").mkdir()
    (tmp_path / "notes").mkdir()
    (dataset,) = read_datasets(trainer_config(train_data_dir=str(tmp_path), resolution="64", train_batch_size=2).data, warn)
    assert [(s.num_repeats, s.class_tokens) for s in dataset.subsets] == [(10, "sks cat")]
    assert (dataset.resolution, dataset.batch_size) == ((64, 64), 2)
    with pytest.raises(TrainerError, match="10_sks cat"):
        read_datasets(trainer_config(train_data_dir=str(tmp_path / "notes"), resolution="64").data, warn)
    (tmp_path / "10_sks cat" / "a.png").touch()
    with pytest.raises(TrainerError, match="give the folder above it"):
        read_datasets(trainer_config(train_data_dir=str(tmp_path / "10_sks cat"), resolution="64").data, warn)


def test_file_takes_precedence_over_flags(write):
    flags = {"color_aug": True, "face_crop_aug_range": "2.0,4.0", "dataset_repeats": 3, "validation_split": 0.5, "alpha_mask": True}
    (dataset,) = write("[[datasets]]\nresolution = 64\n" + SUBSET_TOML + "color_aug = false\nvalidation_seed = 7\n", **flags)
    (subset,) = dataset.subsets
    assert (subset.color_aug, subset.face_crop_aug_range, subset.num_repeats, subset.alpha_mask) == (False, (2.0, 4.0), 3, True)
    assert (subset.validation_split, subset.validation_seed) == (0.5, 7)


def test_folder_named_twice_counts_once_in_one_data_set(write, capsys):
    first, second = write(
        "".join(f"[[datasets]]\nresolution = {side}\n{SUBSET_TOML}" for side in (64, 96)) + SUBSET_TOML + "num_repeats = 9\n"
    )
    assert [len(dataset.subsets) for dataset in (first, second)] == [1, 1]
    assert second.subsets[0].num_repeats == 1
    assert "named twice" in capsys.readouterr().err


def test_extension_without_its_dot_gets_one(write):
    assert write("[[datasets]]\nresolution = 64\n" + SUBSET_TOML + 'caption_extension = "txt"\n')[0].subsets[0].caption_extension == ".txt"


def test_file_may_be_json(tmp_path):
    (tmp_path / "cats").mkdir()
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps({"datasets": [{"resolution": [96, 64], "subsets": [{"image_dir": str(tmp_path / "cats")}]}]}))
    assert read_datasets(trainer_config(dataset_config=str(path)).data, warn)[0].resolution == (96, 64)
    path.write_text("{")
    with pytest.raises(TrainerError, match="not valid JSON"):
        read_datasets(trainer_config(dataset_config=str(path)).data, warn)


def test_masks_lie_in_folder_of_same_name_or_all_in_one(tmp_path):
    for name in ("train/2_cat", "train/1_dog", "masks/2_cat"):
        (tmp_path / name).mkdir(parents=True)
    flags = {"train_data_dir": str(tmp_path / "train"), "conditioning_data_dir": str(tmp_path / "masks"), "masked_loss": True}
    (dataset,) = read_datasets(trainer_config(resolution="64", **flags).data, warn)
    assert [s.conditioning_data_dir for s in dataset.subsets] == [str(tmp_path / "masks"), str(tmp_path / "masks/2_cat")]


@pytest.mark.parametrize("name", ["d.toml", "d.json"])
def test_byte_order_mark_is_ignored(name, tmp_path):
    (tmp_path / "cats").mkdir()
    table = {"datasets": [{"resolution": 64, "subsets": [{"image_dir": str(tmp_path / "cats")}]}]}
    text = json.dumps(table) if name == "d.json" else tomli_w.dumps(table)
    (tmp_path / name).write_text(text, encoding="utf-8-sig")
    (dataset,) = read_datasets(trainer_config(dataset_config=str(tmp_path / name)).data, warn)
    assert dataset.resolution == (64, 64)

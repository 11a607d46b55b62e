"""Which images there are, and which are held out: by the seed, without changes from step to step, never trained on."""

import json

import pytest

from fluxgym.contract.dataset_rules import held_out_indices
from fluxgym.contract.images.formats import FORMATS
from library.data.dataset_toml import read_datasets
from library.data.image_index import index_images
from library.data.schema import Dataset, Subset
from library.errors import TrainerError, warn
from tests.support.photos import write_cats
from tests.support.trainer_config import trainer_config


@pytest.fixture(name="cats")
def fixture_cats(tmp_path):
    return write_cats(tmp_path / "cats", count=10)


def find(cats, seed=1, sizes=(64,), reg=None, **options):
    subsets = [Subset(image_dir=str(cats), caption_extension=".txt", **options)]
    if reg:
        subsets.append(Subset(image_dir=str(reg), is_reg=True, validation_split=options.get("validation_split", 0.0)))
    return index_images([Dataset(resolution=(side, side), subsets=tuple(subsets)) for side in sizes], seed, warn)


def names(images):
    return {image.path.name for image in images}


@pytest.mark.parametrize(("share", "num"), [(0.0, 0), (0.2, 2), (0.3, 3), (0.25, 2), (0.99, 9), (1.0, 10)])
def test_validation_split_matches_kohya_training_count(share, num):
    assert len(held_out_indices(10, share, 0)) == num  # kohya trains on ceil(10 * (1 - share))


def test_held_out_images_depend_on_seed():
    assert len({frozenset(held_out_indices(10, 0.2, seed)) for seed in range(20)}) > 10
    assert set().union(*(held_out_indices(10, 0.2, seed) for seed in range(40))) == set(range(10))


def test_held_out_images_are_excluded_at_all_resolutions(cats):
    train, held_out = find(cats, sizes=(64, 96), validation_split=0.3)
    assert len(train) == 14
    assert len(held_out) == 6
    assert names(train).isdisjoint(names(held_out))
    assert names(find(cats, seed=2, validation_split=0.3)[1]) != names(held_out)
    own_seed = [names(find(cats, seed=seed, validation_split=0.3, validation_seed=5)[1]) for seed in (1, 2)]
    assert own_seed[0] == own_seed[1]


def test_held_out_images_are_seen_once_and_unchanged(cats):
    changing = {
        "num_repeats": 7,
        "flip_aug": True,
        "color_aug": True,
        "random_crop": True,
        "shuffle_caption": True,
        "caption_dropout_rate": 0.5,
    }
    train, held_out = find(cats, validation_split=0.3, caption_prefix="photo", **changing)
    assert {image.num_repeats for image in train} == {7}
    for image in held_out:
        assert (image.num_repeats, image.subset.caption_prefix) == (1, "photo")
        assert not any(getattr(image.subset, name) for name in changing if name != "num_repeats")


def test_regularization_images_are_never_held_out_and_balance_what_is_trained_on(cats, tmp_path):
    write_cats(tmp_path / "reg", count=2)
    train, held_out = find(cats, reg=tmp_path / "reg", validation_split=0.3, num_repeats=2)
    assert len(held_out) == 3
    assert sum(image.num_repeats for image in train if image.subset.is_reg) == 14


def test_share_that_holds_out_no_image_is_refused(cats):
    with pytest.raises(TrainerError, match=r"validation_split 0\.05 .*cats"):
        find(cats, validation_split=0.05)


def test_folder_may_be_all_for_validation(cats, tmp_path):
    other = write_cats(tmp_path / "other", count=2)
    (tmp_path / "d.toml").write_text(
        f'[[datasets]]\nresolution = 64\n[[datasets.subsets]]\nimage_dir = "{cats}"\n'
        f'[[datasets.subsets]]\nimage_dir = "{other}"\nvalidation_split = 1.0\n'
    )
    train, held_out = index_images(read_datasets(trainer_config(dataset_config=str(tmp_path / "d.toml")).data, warn), 1, warn)
    assert (len(train), len(held_out)) == (10, 2)


def test_in_json_lists_images(cats, tmp_path):
    (tmp_path / "meta.json").write_text(json.dumps({f"cat {index}.png": {"caption": f"number {index}"} for index in range(2)}))
    flags = {"in_json": str(tmp_path / "meta.json"), "train_data_dir": str(cats), "dataset_repeats": 5, "resolution": "64"}
    train, _ = index_images(read_datasets(trainer_config(**flags).data, warn), 1, warn)
    assert [(image.caption, image.num_repeats, image.folder) for image in train] == [
        ("number 0", 5, cats),
        ("number 1", 5, cats),
    ]


def test_images_without_texts_are_counted_with_true_reason(cats, capsys):
    (cats / "cat 3.txt").unlink()
    (cats / "cat 4.txt").write_text("\n")
    find(cats)
    assert (
        f"2 of 10 images in {cats} have no caption: no .txt file or an empty caption file, and no class_tokens" in capsys.readouterr().err
    )
    train, _ = find(cats, class_tokens="cat")
    assert "have no caption" not in capsys.readouterr().err
    assert [image.caption for image in train if image.path.name in ("cat 3.png", "cat 4.png")] == ["cat", "cat"]


def test_unused_and_duplicate_files_are_reported(cats, capsys):
    (cats / "cat 0.txt").rename(cats / "cat 0.png.txt")
    (cats / "cat 1.txt").rename(cats / "cat 1.TXT")
    (cats / "alone.txt").write_text("of no image")
    (cats / "b.HEIF2").touch()
    (cats / "inner").mkdir()
    for copy in (cats / "twin.png", cats / "inner" / "x.png"):
        copy.write_bytes((cats / "cat 0.png").read_bytes())
    train, _ = find(cats, class_tokens="zqx")
    captions = {image.path.name: image.caption for image in train}
    assert (captions["cat 0.png"], captions["cat 1.png"], captions["twin.png"]) == ("sks cat, crop 0", "sks cat, crop 1", "zqx")
    err = capsys.readouterr().err
    for words in (
        "1 file is left out (1 .heif2)", "Images in subfolders are left out: 1 image in inner", "1 caption file is not used: alone.txt",
        "same content: cat 0.png, twin.png", "10 captions do not contain the trigger word “zqx”",
    ):  # fmt: skip
        assert f"warning: {cats}: " in err
        assert words in err


def test_txt_files_beside_default_extension_are_reported(cats, capsys):
    index_images([Dataset(resolution=(64, 64), subsets=(Subset(image_dir=str(cats)),))], 1, warn)
    err = capsys.readouterr().err
    assert "10 .txt files are beside images that have no .caption caption" in err
    assert "Set caption_extension = .txt to use them" in err


def test_empty_folder_with_kohya_subfolder_is_reported_with_its_content(cats, tmp_path):
    (tmp_path / "all").mkdir()
    cats.rename(tmp_path / "all" / "10_my cat")
    with pytest.raises(TrainerError, match=r"10 images in 10_my cat.* 10 repeats per image and the trigger word “my cat”"):
        find(tmp_path / "all")


def test_empty_folder_is_refused_with_every_image_format_that_is_read(tmp_path):
    with pytest.raises(TrainerError, match="no images") as error:
        find(tmp_path)
    assert [each.name for each in FORMATS if each.extensions[0] not in str(error.value)] == []

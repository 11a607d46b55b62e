"""The metadata of a LoRA about its images, under kohya's names, and the output of --debug_dataset."""

import json

from library.data.dataset_metadata import dataset_metadata, describe
from library.data.image_index import index_images
from library.data.schema import Dataset, Subset
from library.errors import warn
from tests.support.photos import write_cats
from tests.support.trainer_config import trainer_config


def found(tmp_path):
    write_cats(tmp_path / "cats", count=4)
    write_cats(tmp_path / "reg", count=1)
    subset = Subset(
        image_dir=str(tmp_path / "cats"), caption_extension=".txt", num_repeats=3, validation_split=0.25, custom_attributes={"artist": "né"}
    )
    reg = Subset(image_dir=str(tmp_path / "reg"), is_reg=True, class_tokens="cat")
    return index_images([Dataset(resolution=(64, 96), subsets=(subset, reg))], 1, warn)


def test_metadata_counts_what_is_trained_on(tmp_path):
    figures = dataset_metadata(trainer_config(validation_split=0.25).flag_values, *found(tmp_path))
    assert json.loads(figures["dataset_dirs"]) == {"cats": {"n_repeats": 3, "img_count": 3}}
    assert json.loads(figures["reg_dataset_dirs"]) == {"reg": {"n_repeats": 1, "img_count": 1}}
    assert json.loads(figures["tag_frequency"])["cats"]["sks cat"] == 3
    assert json.loads(figures["bucket_info"]) == {"64x96": 18}
    assert (figures["num_validation_images"], figures["validation_split"]) == (1, 0.25)
    (dataset,) = json.loads(figures["datasets"])
    assert dataset["resolution"] == [64, 96]
    assert dataset["subsets"][0]["custom_attributes"] == {"artist": "né"}


def test_description_names_every_image(tmp_path):
    train, held_out = found(tmp_path)
    lines = describe(train, held_out, 18).splitlines()
    assert len(lines) == 6
    assert sum(line.startswith("held out: ") for line in lines) == 1
    assert "96x96 as 64x96, 3 times" in lines[0]
    assert "'sks cat, crop" in lines[0]
    assert "regularization" in lines[3]
    assert lines[-1] == "4 images, 18 with repeats, in 18 batches per epoch; 1 held out"

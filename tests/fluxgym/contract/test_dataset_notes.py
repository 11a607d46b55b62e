"""Each unused or missing file of a dataset gives one message with its name."""

import pytest

from fluxgym.contract.caption_files import Pairing
from fluxgym.contract.dataset_notes import cut_captions_message, no_images_message, notes
from fluxgym.contract.folder_summary import FolderSummary


def summary(captions, **found):
    pairing = {name: found.pop(name) for name in ("unused", "shared", "other_captions", "left_out") if name in found}
    of = {name: name.replace(".png", ".txt") for name in captions}
    return FolderSummary(captions=captions, pairing=Pairing(of=of, **pairing), **found)


def sentences(found, trigger=""):
    return list(notes(found, extension=".txt", trigger=trigger))


def test_folder_without_problems_gives_no_notes():
    assert sentences(summary({"a.png": "sks cat", "b.png": ""}), trigger="sks cat") == []


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ({"left_out": ("b.HEIF2", "c.jxl", "d.jxl")}, "3 files are left out (2 .jxl, 1 .heif2), because this format is not read: b.HEIF2, c.jxl, d.jxl."),
        ({"left_out": ("readme",)}, "1 file is left out (1 no ending)"),
        ({"subfolders": {"10_cat": 2}}, "2 images in 10_cat"),
        ({"unused": ("x.txt",)}, "1 caption file is not used: x.txt."),
        ({"other_captions": ("a.caption",)}, "Set caption_extension = .caption to use it."),
        ({"shared": (("a.jpg", "a.png"),)}, "a.jpg and a.png share one caption"),
        ({"equal": (("a.png", "b.png"),)}, "same content: a.png, b.png"),
    ],
)  # fmt: skip
def test_each_unused_file_is_reported(found, words):
    (sentence,) = sentences(summary({"a.png": "cat", "a.jpg": "cat"}, **found))
    assert words in sentence


def test_captions_without_trigger_word_are_counted_and_named():
    found = summary({"a.png": "a photo of SKS Cat", "b.png": "a cat", "c.png": ""})
    assert sentences(found, trigger="sks cat") == ["1 caption does not contain the trigger word “sks cat”: b.png."]


def test_kohya_subfolder_is_suggested_with_its_settings():
    sentence = no_images_message({"10_my cat": 2, "other": 1})
    assert "2 images in 10_my cat, 1 image in other" in sentence
    assert "choose 10_my cat with 10 repeats per image and the trigger word “my cat”" in sentence
    assert "choose 99999_cat with the trigger word “cat”." in no_images_message({"99999_cat": 2})
    assert "choose 0_cat with the trigger word “cat”." in no_images_message({"0_cat": 2})
    assert "choose 1_ with 1 repeat per image." in no_images_message({"1_": 2})
    assert "choose 0_." in no_images_message({"0_": 2})
    assert "but there is 1 image in cats" in no_images_message({"cats": 1})
    assert no_images_message({"cats": 3}).endswith("Choose that folder.")
    assert no_images_message({}) == ""


def test_cut_captions_are_reported_with_number_of_tokens():
    assert cut_captions_message({"a.png": 512}, 512) == ""
    assert cut_captions_message({"a.png": 900, "b.png": 12}, 512) == (
        "1 caption is longer than the 512 tokens that T5 reads; what is cut off: 388 tokens of a.png."
    )


def test_repeats_out_of_range_in_a_folder_name_are_named():
    assert "choose 2_dog with 2 repeats" in no_images_message({"0_cat": 3, "2_dog": 1})
    message = no_images_message({"0_cat": 3})
    assert message.endswith(
        "choose 0_cat with the trigger word “cat”. The 0 repeats in the name 0_cat are out of range: enter a number from 1 to 10,000."
    )

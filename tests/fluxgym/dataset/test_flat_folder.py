"""Images in kohya's folders become one folder with their captions; any other folder stays as it is."""

import os

import pytest
from PIL import Image

from fluxgym.contract.kohya_folders import clear_folders
from fluxgym.dataset.flat_folder import flat_folder, repeats_sentence, settings_of, with_settings_of
from fluxgym.dataset.folder import CaptionRules, copy_for_training
from fluxgym.dataset.folder_index import index_of
from fluxgym.errors import StorageError


def write(folder, **files):
    """Write images of the given colors and texts; double underscores stand for the dot."""
    folder.mkdir(parents=True)
    for name, content in files.items():
        path = folder / name.replace("__", ".")
        if path.suffix == ".png":
            Image.new("RGB", (8, 8), content).save(path)
        else:
            path.write_text(content)


def test_images_of_kohyas_folders_come_in_with_their_captions(tmp_path):
    write(tmp_path / "in" / "10_cat", a__png="red", a__txt="one cat")
    write(tmp_path / "in" / "10_dog", b__png="blue", b__png__txt="one dog", c__psd="other")
    (tmp_path / "in" / "readme.md").write_text("about")
    with flat_folder(tmp_path / "in") as flat:
        assert [each.name for each in flat.kohya] == ["10_cat", "10_dog"]
        summary = index_of(flat.path).summary()
        assert (summary.captions, summary.pairing.left_out, summary.subfolders) == (
            {"a.png": "one cat", "b.png": "one dog"},
            ("c.psd",),
            {},
        )
        assert copy_for_training(flat.path, tmp_path / "out", CaptionRules()) == 2
        path = flat.path
    assert not path.exists()
    assert sorted(each.name for each in (tmp_path / "out").iterdir()) == ["a.png", "a.txt", "b.png", "b.txt"]
    assert not (tmp_path / "out" / "a.png").is_symlink()
    with Image.open(tmp_path / "out" / "b.png") as image:
        assert image.getpixel((0, 0)) == (0, 0, 255)


def test_equal_names_in_two_folders_keep_both_images_and_their_captions(tmp_path):
    write(tmp_path / "10_cat", a__png="red", a__txt="one cat", b__png="red")
    write(tmp_path / "10_dog", a__png="blue", a__txt="one dog")
    with flat_folder(tmp_path) as flat:
        captions = index_of(flat.path).captions().texts
    assert captions == {"10_cat-a.png": "one cat", "10_cat-b.png": "", "10_dog-a.png": "one dog"}


@pytest.mark.parametrize(
    "layout", [{"": ["a.png"], "10_cat": ["b.png"]}, {"10_cat": ["a.png"], "more": ["b.png"]}, {"2024_trip": ["a.png"]}, {}]
)
def test_any_other_folder_stays_as_it_is(layout, tmp_path):
    for folder, names in layout.items():
        for name in names:
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.new("L", (8, 8)).save(tmp_path / folder / name)
    with flat_folder(tmp_path) as flat:
        assert (flat.path, flat.kohya) == (tmp_path, ())


def test_link_and_giant_in_place_of_a_caption_are_refused_as_elsewhere(tmp_path):
    write(tmp_path / "10_cat", a__png="red", b__png="red")
    (tmp_path / "secret").write_text("canary")
    (tmp_path / "10_cat" / "a.txt").symlink_to(tmp_path / "secret")
    (tmp_path / "10_cat" / "b.txt").write_text("x" * 100_000)
    with flat_folder(tmp_path) as flat:
        summary = index_of(flat.path).summary()
    assert set(summary.refused) == {"a.txt", "b.txt"}
    assert "canary" not in str(summary)


def test_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "scandir", lambda *_: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
    with pytest.raises(StorageError, match="Permission denied"), flat_folder(tmp_path):
        pass


def test_settings_of_the_folders_fill_what_the_state_lacks():
    kohya = clear_folders(["10_sks cat"])
    assert with_settings_of(kohya, {"seed": 1}) == {"num_repeats": 10, "concept_sentence": "sks cat", "seed": 1}
    assert with_settings_of(kohya, {"num_repeats": "", "concept_sentence": ""})["concept_sentence"] == "sks cat"
    assert with_settings_of(kohya, {"num_repeats": 3, "concept_sentence": "x"}) == {"num_repeats": 3, "concept_sentence": "x"}
    assert with_settings_of((), {"seed": ""}) == {"seed": ""}
    assert settings_of(clear_folders(["10_cat", "20_dog"])) == {}


@pytest.mark.parametrize(
    ("names", "used", "sentence"),
    [
        ([], 5, ""),
        (["10_cat"], "10", "The images are in kohya's folder 10_cat, so “Repeat trains per image” is 10."),
        (
            ["10_cat"],
            5,
            "The images are in kohya's folder 10_cat, which says 10 repeats. “Repeat trains per image” is set to 5, which is used.",
        ),
        (["10_cat", "20_dog"], 7, "“Repeat trains per image” is 7. To keep the difference, train with --train_data_dir of"),
    ],
)
def test_sentence_says_what_was_found_and_what_is_used(names, used, sentence):
    assert sentence in repeats_sentence(clear_folders(names), used)
    assert bool(sentence) == bool(repeats_sentence(clear_folders(names), used))

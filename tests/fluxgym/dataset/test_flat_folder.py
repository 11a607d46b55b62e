"""Images in kohya's folders become one folder with their captions; any other folder stays as it is."""

import os
import socket

import pytest
from PIL import Image

from fluxgym.contract.kohya_folders import clear_folders
from fluxgym.dataset.flat_folder import flat_folder, repeats_message, settings_of, with_settings_of
from fluxgym.dataset.folder import CaptionRules, copy_for_training
from fluxgym.dataset.folder_index import FolderIndex
from fluxgym.errors import DatasetError, StorageError


def write(folder, **files):
    """Write images of the given colors and texts; double underscores stand for the dot."""
    folder.mkdir(parents=True)
    for name, content in files.items():
        path = folder / name.replace("__", ".")
        if path.suffix == ".png":
            Image.new("RGB", (8, 8), content).save(path)
        else:
            path.write_text(content)


def test_images_of_kohya_folders_are_imported_with_their_captions(tmp_path):
    write(tmp_path / "in" / "10_cat", a__png="red", a__txt="one cat")
    write(tmp_path / "in" / "10_dog", b__png="blue", b__png__txt="one dog", c__psd="other")
    (tmp_path / "in" / "readme.md").write_text("about")
    with flat_folder(tmp_path / "in") as flat:
        assert [each.name for each in flat.kohya] == ["10_cat", "10_dog"]
        summary = FolderIndex(flat.path).summary()
        assert (summary.captions, summary.pairing.left_out) == ({"a.png": "one cat", "b.png": "one dog"}, ())
        assert [note.partition(",")[0] for note in flat.notes] == ["1 file is left out (1 .psd)"]
        assert "10_dog/c.psd" in flat.notes[0]
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
        captions = FolderIndex(flat.path).captions().texts
    assert captions == {"10_cat-a.png": "one cat", "10_cat-b.png": "", "10_dog-a.png": "one dog"}


@pytest.mark.parametrize(
    "layout", [{"": ["a.png"], "10_cat": ["b.png"]}, {"10_cat": ["a.png"], "more": ["b.png"]}, {"2024_trip": ["a.png"]}, {}]
)
def test_other_folder_is_not_flattened(layout, tmp_path):
    for folder, names in layout.items():
        for name in names:
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.new("L", (8, 8)).save(tmp_path / folder / name)
    with flat_folder(tmp_path) as flat:
        assert (flat.path, flat.kohya) == (tmp_path, ())


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: path.symlink_to("secret"), "it is a link"),
        (lambda path: path.write_text("x" * 100_000), "it is larger than 80 kB"),
        (os.mkfifo, "it is a named pipe"),
    ],
)
def test_unreadable_caption_is_refused_with_its_reason(make, reason, tmp_path):
    write(tmp_path / "10_cat", a__png="red", secret="canary")
    make(tmp_path / "10_cat" / "a.txt")
    with pytest.raises(DatasetError, match=f"10_cat/a.txt is not read: {reason}"), flat_folder(tmp_path):
        pass


def test_companion_files_are_not_imported_and_do_not_collide(tmp_path):
    for name, color in (("10_cat", "red"), ("10_dog", "blue")):
        write(tmp_path / name, **{"__DS_Store": "x", "Thumbs__db": "x", "README": "x", f"{name}__png": color})
    with flat_folder(tmp_path) as flat:
        assert sorted(path.name for path in flat.path.iterdir()) == ["10_cat.png", "10_cat.txt", "10_dog.png", "10_dog.txt"]
    assert "10_cat/README, 10_dog/README" in flat.notes[0]


def test_names_that_are_equal_with_their_folder_in_front_or_too_long_are_changed(tmp_path):
    long = "n" * 240
    write(tmp_path / "10_a", **{"b-c__png": "red", "x__png": "red", f"{long}__png": "red", f"{long}__txt": "one"})
    write(tmp_path / "10_a-b", c__png="blue", x__png="blue", **{f"{long}__png": "blue", f"{long}__txt": "two"})
    with flat_folder(tmp_path) as flat:
        captions = FolderIndex(flat.path).captions().texts
        colors = sorted(Image.open(flat.path / name).getpixel((0, 0)) for name in captions)
    assert (len(captions), colors) == (6, [(0, 0, 255)] * 3 + [(255, 0, 0)] * 3)
    assert sorted(captions.values()) == ["", "", "", "", "one", "two"]
    assert max(map(len, captions)) <= 210


@pytest.mark.parametrize(("image", "caption"), [("x.png", "x.txt"), ("x_1_2_3_4.png", "x.txt"), ("x.png", "x.png.txt")])
def test_caption_without_image_is_not_used_for_image_of_another_folder(image, caption, tmp_path):
    write(tmp_path / "10_a", **{image.replace(".", "__"): "red"})
    write(tmp_path / "10_b", y__png="blue", **{caption.replace(".", "__"): "another"})
    with flat_folder(tmp_path) as flat:
        assert FolderIndex(flat.path).captions().texts == {image: "", "y.png": ""}
    assert f"1 caption file is not used: 10_b/{caption}." in flat.notes[0]


def test_caption_of_another_folders_image_is_not_shared(tmp_path):
    write(tmp_path / "10_a", x_1_2_3_4__png="red")
    write(tmp_path / "10_b", x__png="blue", x__txt="another")
    with flat_folder(tmp_path) as flat:
        assert FolderIndex(flat.path).captions().texts == {"x.png": "another", "x_1_2_3_4.png": ""}


def test_images_in_folders_inside_kohya_folders_are_reported_as_left_out(tmp_path):
    write(tmp_path / "10_a", x__png="red")
    write(tmp_path / "10_a" / "more", y__png="blue")
    with flat_folder(tmp_path) as flat:
        assert "1 image in 10_a/more" in flat.notes[0]


def test_folder_that_cannot_be_read_is_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "scandir", lambda *_: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
    with pytest.raises(StorageError, match="Permission denied"), flat_folder(tmp_path):
        pass


def test_folder_settings_fill_only_missing_state_values():
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
def test_message_reports_found_and_used_settings(names, used, sentence):
    assert sentence in repeats_message(clear_folders(names), used)
    assert bool(sentence) == bool(repeats_message(clear_folders(names), used))


def test_entries_of_kohyas_folders_that_are_not_files_are_named_and_do_not_block(tmp_path):
    write(tmp_path / "10_cat", a__png="red")
    os.mkfifo(tmp_path / "10_cat" / "pipe.png")
    (tmp_path / "10_cat" / "folder.png").mkdir()
    (tmp_path / "10_cat" / "broken.png").symlink_to("nowhere.png")
    (tmp_path / "10_cat" / "loop.png").symlink_to("loop.png")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(tmp_path / "10_cat" / "socket.png"))
    os.mkfifo(tmp_path / "beside.png")
    with flat_folder(tmp_path) as flat:
        assert [path.name for path in flat.path.glob("*.png")] == ["a.png"]
    (sentence,) = flat.notes
    names = "beside.png, 10_cat/broken.png, 10_cat/folder.png and 3 more"
    assert sentence == f"6 entries with an image's name are left out, because a folder, pipe, device or broken link is not read: {names}."

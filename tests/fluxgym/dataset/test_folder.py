"""A folder of images and captions: matched by name, every edit on disk at once, invalid names and files reported."""

import contextlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from fluxgym.contract.images.formats import FORMATS
from fluxgym.dataset.arrivals import Outcome
from fluxgym.dataset.folder import CaptionRules, ImageFolder, copy_for_training, copy_into
from fluxgym.dataset.folder_index import FolderIndex
from fluxgym.errors import DatasetError
from tests.support.photos import write_cats


@pytest.fixture(name="folder")
def fixture_folder(tmp_path):
    return ImageFolder(tmp_path / "dataset")


def upload(tmp_path, name, color="red"):
    path = tmp_path / "upload.tmp"
    Image.new("RGB", (40, 30), color).save(path, "PNG")
    return path, name


def text(tmp_path, words):
    path = tmp_path / "upload.tmp"
    path.write_bytes(words if isinstance(words, bytes) else words.encode())
    return path


def test_captions_match_image_names_in_any_upload_order(folder, tmp_path):
    folder.add(text(tmp_path, "the second"), "b.txt")
    for name in ("a.png", "b.png", "c.png"):
        folder.add(*upload(tmp_path, name))
    assert [(item.name, item.caption) for item in folder.items()] == [("a.png", ""), ("b.png", "the second"), ("c.png", "")]
    assert [item.name for item in folder.items(1, 1)] == ["b.png"]


def test_caption_edit_is_written_immediately_and_empty_one_removes_file(folder, tmp_path):
    folder.add(*upload(tmp_path, "a.png"))
    folder.set_caption("a.png", "  sks cat ")
    assert (folder.path / "a.txt").read_text() == "sks cat\n"
    folder.set_caption("a.png", " ")
    assert not (folder.path / "a.txt").exists()
    with pytest.raises(DatasetError):
        folder.set_caption("../../etc/passwd", "x")


def test_refusals_name_every_image_format_that_is_read(folder, tmp_path):
    with pytest.raises(DatasetError) as other_file:
        folder.add(text(tmp_path, "words"), "a.doc")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError) as no_image:
        copy_into(tmp_path / "empty", tmp_path / "copy")
    for error in (other_file, no_image):
        assert [each.name for each in FORMATS if each.extensions[0] not in str(error.value)] == []


def test_images_of_equal_stems_get_different_names(folder, tmp_path):
    assert folder.add(*upload(tmp_path, "a.png")) == ("a.png", Outcome.ADDED)
    assert folder.add(*upload(tmp_path, "a.jpg", "green")) == ("a-2.jpg", Outcome.RENAMED)
    assert folder.add(*upload(tmp_path, "a.png", "blue")) == ("a-3.png", Outcome.RENAMED)
    assert folder.add(*upload(tmp_path, "a.jpg")) == ("a.png", Outcome.PRESENT)
    assert folder.count() == 3


def test_images_of_equal_stems_added_concurrently_get_different_names(folder, tmp_path, monkeypatch):
    names_of, both = ImageFolder.file_names, threading.Barrier(2)

    def slow(self):
        found = names_of(self)
        with contextlib.suppress(threading.BrokenBarrierError):
            both.wait(timeout=0.5)  # until the other has read the names too, unless the lock keeps it from that
        return found

    monkeypatch.setattr(ImageFolder, "file_names", slow)
    uploads = (("cat.png", "red"), ("cat.jpg", "blue"))
    files = [(upload(tmp_path, *each)[0].rename(tmp_path / f"arriving {each[0]}"), each[0]) for each in uploads]
    with ThreadPoolExecutor(2) as pool:
        names = [arrival.name for arrival in pool.map(lambda file: folder.add(*file), files)]
    assert sorted(Path(name).stem for name in names) == ["cat", "cat-2"]


@pytest.mark.parametrize(
    ("content", "name", "named"),
    [("hello", "text.png", r"text\.png is not an image"), ("x", "a.exe", r"a\.exe"), (b"\xff\xfea", "a.txt", "UTF-8")],
)
def test_add_of_unusable_file_names_it(content, name, named, folder, tmp_path):
    with pytest.raises(DatasetError, match=named):
        folder.add(text(tmp_path, content), name)
    assert folder.count() == 0


def test_add_of_truncated_image_names_it(folder, tmp_path):
    path, name = upload(tmp_path, "a.png")
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DatasetError, match=r"a\.png"):
        folder.add(path, name)


def test_copy_has_its_own_captions(folder, tmp_path):
    folder.add(*upload(tmp_path, "a.png"))
    folder.add(*upload(tmp_path, "b.png"))
    folder.set_caption("a.png", "first")
    assert copy_for_training(folder.path, tmp_path / "run", CaptionRules()) == 2
    folder.set_caption("a.png", "changed")
    folder.remove("b.png")
    copied = ImageFolder(tmp_path / "run")
    assert [(item.name, item.caption) for item in copied.items()] == [("a.png", "first"), ("b.png", "")]


def test_copy_of_linked_images_copies_their_data(folder, tmp_path):
    folder.add(*upload(tmp_path, "a.png"))
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "a.png").symlink_to("../dataset/a.png")
    assert copy_into(tmp_path / "links", tmp_path / "far" / "away" / "run") == 1
    assert list(FolderIndex(tmp_path / "far" / "away" / "run").sizes()) == [(40, 30)]


def test_captions_of_another_extension_are_stored_as_txt(folder, tmp_path):
    for name in ("a.png", "b.png", "c.png"):
        folder.add(*upload(tmp_path, name))
    (folder.path / "a.caption").write_text("first")
    (folder.path / "a.txt").write_text("not this")
    folder.set_caption("b.png", "second")
    copy_for_training(folder.path, tmp_path / "run", CaptionRules(extension=".caption"))
    assert [item.caption for item in ImageFolder(tmp_path / "run").items()] == ["first", "second", ""]


def test_run_stores_captions_as_written_in_utf_8(folder, tmp_path):
    for name in ("a.png", "b.png"):
        folder.add(*upload(tmp_path, name))
    (folder.path / "a.png.txt").write_text("zqx cat\nsitting")
    (folder.path / "b.TXT").write_text("ein Kätzchen", encoding="utf-16")
    assert [item.caption for item in folder.items()] == ["zqx cat\nsitting", "ein Kätzchen"]
    copy_for_training(folder.path, tmp_path / "run", CaptionRules())
    assert [item.caption for item in ImageFolder(tmp_path / "run").items()] == ["zqx cat\nsitting", "ein Kätzchen"]
    assert (tmp_path / "run" / "b.txt").read_text(encoding="utf-8") == "ein Kätzchen\n"
    copy_for_training(folder.path, tmp_path / "joined", CaptionRules(joins_lines=True))
    assert (tmp_path / "joined" / "a.txt").read_text() == "zqx cat sitting\n"
    copy_for_training(folder.path, tmp_path / "lines", CaptionRules(joins_lines=True, wildcards=True))
    assert (tmp_path / "lines" / "a.txt").read_text() == "zqx cat\nsitting\n"


def test_run_leaves_images_without_a_caption_as_they_are(folder, tmp_path):
    for name in ("cat.png", "cat_1_2_3_4.png", "dog.png"):
        folder.add(*upload(tmp_path, name))
    folder.set_caption("cat.png", "a cat")
    (folder.path / "cat_1_2_3_4.txt").touch()  # without it, the image would get that of cat.png
    copy_for_training(folder.path, tmp_path / "run", CaptionRules())
    assert [item.caption for item in ImageFolder(tmp_path / "run").items()] == ["a cat", "", ""]
    assert not (tmp_path / "run" / "dog.txt").exists()
    copy_for_training(folder.path, tmp_path / "kohya", CaptionRules(joins_lines=True))
    assert sorted(path.name for path in (tmp_path / "kohya").glob("*.txt")) == ["cat.txt"]


def test_copy_keeps_caption_in_another_encoding_and_training_refuses_it(folder, tmp_path):
    folder.add(*upload(tmp_path, "a.png"))
    (folder.path / "a.txt").write_bytes("Kätzchen".encode("cp1252"))
    copy_into(folder.path, tmp_path / "copy")
    assert (tmp_path / "copy" / "a.txt").read_bytes() == "Kätzchen".encode("cp1252")
    with pytest.raises(DatasetError, match=r"a\.txt is not UTF-8"):
        copy_for_training(folder.path, tmp_path / "run", CaptionRules())


def test_uploaded_caption_gets_its_plain_name_unless_that_is_taken(folder, tmp_path):
    for name, text in (("a.png.txt", "first"), ("b.txt", "plain"), ("b.png.txt", "other")):
        (tmp_path / "upload").write_text(text)
        folder.add(tmp_path / "upload", name)
    assert sorted(path.name for path in folder.path.iterdir()) == ["a.txt", "b.png.txt", "b.txt"]
    assert (folder.path / "b.txt").read_text() == "plain"


@pytest.mark.parametrize("name", ["..", ".", "", "../dataset/a.png", "a.txt", "b.png", "a\0.png"])
def test_image_path_outside_folder_is_refused(name, folder, tmp_path):
    folder.add(*upload(tmp_path, "a.png"))
    assert folder.image_path("a.png") == folder.path / "a.png"
    with pytest.raises(DatasetError, match="no image"):
        folder.image_path(name)


def test_named_pipe_as_caption_is_empty_and_does_not_block(tmp_path):
    folder = ImageFolder(write_cats(tmp_path / "cats", count=1))
    (caption,) = folder.path.glob("*.txt")
    caption.unlink()
    os.mkfifo(caption)
    assert folder.tally() == (1, 0)
    assert folder.items()[0].caption == ""


def test_file_name_that_is_not_utf8_is_refused_before_anything_is_copied(tmp_path):
    folder = write_cats(tmp_path / "cats", count=1)
    next(folder.glob("*.png")).rename(folder / os.fsdecode(b"p\xff.png"))
    with pytest.raises(DatasetError, match="not UTF-8; rename it"):
        copy_into(folder, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_removing_image_keeps_caption_that_another_one_shares(tmp_path):
    folder = ImageFolder(write_cats(tmp_path / "cats", count=1))
    (folder.path / "cat 0.jpg").write_bytes((folder.path / "cat 0.png").read_bytes())
    folder.remove("cat 0.png")
    assert folder.caption("cat 0.jpg") == "sks cat, crop 0"
    folder.remove("cat 0.jpg")
    assert list(folder.path.iterdir()) == []


@pytest.mark.parametrize(
    ("first", "second"), [("ab.png", "a\nb.png"), ("ab.png", "a\0b.png"), ("ab.png", "a\x9bb.png"), ("ü.png", "u\u0308.png")]
)
def test_image_whose_sanitized_name_exists_gets_new_name(first, second, tmp_path):
    folder = ImageFolder(tmp_path / "in")
    for name, color in ((first, "red"), (second, "blue")):
        Image.new("RGB", (8, 8), color).save(tmp_path / "new.png")
        added = folder.add(tmp_path / "new.png", name).name
    assert (folder.names(), added) == (sorted([first, added]), f"{first[:-4]}-2.png")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (".png", "“.png” has no name before its extension; give it one, such as 1.png."),
        (" .jpg", "“ .jpg” has no name before its extension; give it one, such as 1.jpg."),
        ("...png", "“...png” has no name before its extension; give it one, such as 1.png."),
        ("a/.TXT", "“.TXT” has no name before its extension; give it one, such as 1.txt."),
        ("...", "“...” is not a valid file name."),
        ("  ", "“  ” is not a valid file name."),
        ("con.png", "“con.png” has a name that Windows reserves; rename it, for example to 1.png."),
        ("Aux.txt", "“Aux.txt” has a name that Windows reserves; rename it, for example to 1.txt."),
        ("LPT1.a.webp", "“LPT1.a.webp” has a name that Windows reserves; rename it, for example to 1.webp."),
    ],
)
def test_an_upload_whose_name_no_file_can_have_is_named_with_the_remedy(name, words, folder, tmp_path):
    source = write_cats(tmp_path / "new", count=1) / "cat0.png"
    before = sorted(folder.path.iterdir()) if folder.path.is_dir() else []
    with pytest.raises(DatasetError) as caught:
        folder.add(source, name)
    assert str(caught.value) == words
    assert (sorted(folder.path.iterdir()) if folder.path.is_dir() else []) == before


@pytest.mark.parametrize("name", ["a\x07.txt", "./.a.txt", "a\u2028.txt", " a.txt"])
def test_a_caption_whose_name_became_equal_by_cleaning_replaces_nothing(name, folder, tmp_path):
    for number in (0, 1):
        (tmp_path / f"upload{number}").write_text(f"text {number}")
    folder.add(tmp_path / "upload0", "a.txt")
    with pytest.raises(DatasetError, match=r"would be stored as a\.txt, which is another caption.*rename it"):
        folder.add(tmp_path / "upload1", name)
    assert (folder.path / "a.txt").read_text() == "text 0"
    (tmp_path / "same").write_text("text 0")
    assert folder.add(tmp_path / "same", name) == ("a.txt", Outcome.PRESENT)  # it loses nothing


def test_a_caption_of_the_same_name_replaces_the_earlier_one(folder, tmp_path):
    kept = []
    for text, outcome in (("one", Outcome.ADDED), ("two", Outcome.REPLACED)):
        (tmp_path / "upload").write_text(text)
        assert folder.add(tmp_path / "upload", "a.txt", keep=lambda path: kept.append(path.read_text())) == ("a.txt", outcome)
    assert kept == ["one"]
    assert (folder.path / "a.txt").read_text() == "two"


def test_long_caption_names_that_differ_only_at_their_end_replace_nothing(folder, tmp_path):
    names = [f"{'x' * 300}{number}.txt" for number in (1, 2)]
    (tmp_path / "one").write_text("one")
    (tmp_path / "two").write_text("two")
    stored = folder.add(tmp_path / "one", names[0]).name
    assert folder.add(tmp_path / "two", names[1]).outcome is Outcome.ADDED
    assert (folder.path / stored).read_text() == "one"


@pytest.mark.parametrize("name", ["IMG.TXT", "Cafe\u0301.txt", "x" * 300 + ".txt", "folder/a.Txt"])
def test_a_caption_whose_name_is_stored_in_another_form_replaces_its_earlier_upload(name, folder, tmp_path):
    for words, outcome in (("one", Outcome.ADDED), ("two", Outcome.REPLACED)):
        stored, done = folder.add(text(tmp_path, words), name)
        assert done is outcome
        assert (folder.path / stored).read_text() == words


def test_an_image_and_its_caption_with_long_names_stay_together(folder, tmp_path):
    folder.add(text(tmp_path, "words"), "é" * 300 + ".txt")
    path, _ = upload(tmp_path, "a.png")
    image = folder.add(path, "é" * 300 + ".jpeg").name
    assert folder.caption(image) == "words"

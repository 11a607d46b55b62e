"""Captions that are paired by case, by the image's whole name or by a face position are edited, removed and put back like all others."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from fluxgym.dataset.folder import copy_into
from fluxgym.errors import DatasetError
from fluxgym.sessions.draft_edits import DraftEdits
from fluxgym.sessions.drafts import open_draft
from tests.support.drafts import new_draft_id
from tests.support.photos import write_cats

PAIRS = [("IMG_1.PNG", "img_1.txt"), ("a.png", "a.png.txt"), ("a.png", "a.TXT"), ("a.png", "a.txt.txt"), ("me_1_2_3_4.png", "me.txt")]


@pytest.fixture
def draft(tmp_path):
    """Return a draft without images."""
    draft = open_draft(tmp_path, new_draft_id())
    draft.images.path.mkdir(parents=True)
    return draft


@pytest.fixture
def add(draft, tmp_path):
    """Return a function that puts files into the draft: an image, or a caption with a text."""
    image = next(write_cats(tmp_path / "cats", count=1).glob("*.png")).read_bytes()

    def put(*images, **captions):
        for name in images:
            (draft.images.path / name).write_bytes(image + name.encode())
        for name, text in captions.items():
            (draft.images.path / name).write_text(text)

    return put


def content(draft):
    """Return the bytes of all files of the draft's images by name."""
    return {path.name: path.read_bytes() for path in draft.images.path.iterdir()}


@pytest.mark.parametrize(("image", "caption"), PAIRS)
def test_caption_is_written_and_cleared_where_it_is_read(draft, add, image, caption):
    add(image, **{caption: "old"})
    draft.images.set_caption(image, "typed")
    assert content(draft).keys() == {image, caption}
    assert draft.images.caption(image) == "typed"
    draft.images.set_caption(image, "")
    assert content(draft).keys() == {image}


@pytest.mark.parametrize(("image", "caption"), PAIRS)
def test_removed_image_takes_its_caption_along_and_undo_brings_both_back(draft, add, image, caption):
    add(image, **{caption: "old"})
    before, edits = content(draft), DraftEdits(draft)
    token = edits.remove([image])
    assert content(draft) == {}
    edits.undo(token)
    assert content(draft) == before
    draft.images.remove(image)
    assert content(draft) == {}


@pytest.mark.parametrize(("image", "caption"), PAIRS)
def test_undo_beside_another_image_of_the_name_gives_each_its_own_caption(draft, add, image, caption):
    add(image, **{caption: "old"})
    edits = DraftEdits(draft)
    token = edits.remove([image])
    add(image, **{caption: "new"})
    edits.undo(token)
    (other,) = set(draft.images.names()) - {image}
    assert (draft.images.caption(image), draft.images.caption(other)) == ("new", "old")


def test_cleared_caption_is_followed_by_no_other_file(draft, add):
    add("a.png", **{"a.txt": "used", "a.png.txt": "the next one"})
    draft.images.set_caption("a.png", "")
    assert draft.images.caption("a.png") == ""
    assert (draft.images.path / "a.png.txt").read_text() == "the next one"
    DraftEdits(draft).remove(["a.png"])
    assert content(draft) == {}


def test_faces_with_one_caption_get_their_own_ones_when_one_is_edited(draft, add):
    add("me_1_2_3_4.png", "me_5_6_7_8.png", **{"me.txt": "of both"})
    edits = DraftEdits(draft)
    token = edits.set_captions({"me_1_2_3_4.png": ""})
    assert draft.images.captions().texts == {"me_1_2_3_4.png": "", "me_5_6_7_8.png": "of both"}
    edits.undo(token)
    assert draft.images.captions().texts == {"me_1_2_3_4.png": "of both", "me_5_6_7_8.png": "of both"}
    before, token = content(draft), edits.remove(["me_5_6_7_8.png"])
    edits.undo(token)
    assert content(draft) == before


def test_copies_keep_cleared_captions_empty(draft, add, tmp_path):
    add("me_1_2_3_4.png", "me.png", **{"me.txt": "of both"})
    draft.images.set_caption("me_1_2_3_4.png", "")
    other = open_draft(tmp_path, new_draft_id())
    copy_into(draft.images.path, other.images.path)
    assert other.images.captions().texts == {"me.png": "of both", "me_1_2_3_4.png": ""}


def test_unused_captions_whose_names_are_in_use_again_are_put_back_with_a_number(draft, add):
    add(**{"notes.txt": "for later", "same.txt": "equal"})
    edits = DraftEdits(draft)
    token = edits.remove_unused_captions()
    add("notes-2.png", **{"notes.txt": "newer", "same.txt": "equal"})
    edits.undo(token)
    texts = {path.name: path.read_text() for path in draft.images.path.glob("*.txt")}
    assert texts == {"notes.txt": "newer", "notes-3.txt": "for later", "same.txt": "equal"}


def test_of_two_undos_at_once_one_is_told_that_it_came_too_late(draft, add):
    add("a.png", **{"a.txt": "text"})
    edits = DraftEdits(draft)
    before, token = content(draft), edits.remove(["a.png"])
    with ThreadPoolExecutor(2) as pool:
        with draft.images.changing():
            undos = [pool.submit(edits.undo, token) for _ in range(2)]
            time.sleep(0.3)  # both wait for the lock
        errors = [undo.exception() for undo in undos]
    (late,) = filter(None, errors)
    assert isinstance(late, DatasetError)
    assert "can no longer be undone" in str(late)
    assert content(draft) == before

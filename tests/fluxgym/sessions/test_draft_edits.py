"""Edits of a draft's images are undone completely, and never against what was done since."""

import pytest

from fluxgym.errors import DatasetError
from fluxgym.sessions.draft_edits import DraftEdits
from fluxgym.sessions.drafts import open_draft
from tests.support.drafts import new_draft_id
from tests.support.photos import write_cats


@pytest.fixture
def draft(tmp_path):
    """Return a draft with four images and captions."""
    draft = open_draft(tmp_path, new_draft_id())
    write_cats(draft.images.path, count=4)
    return draft


def content(draft):
    """Return the bytes of all files of the draft's images by name."""
    return {path.name: path.read_bytes() for path in draft.images.path.iterdir()}


def test_undo_after_remove_restores_images_and_captions(draft):
    before, edits = content(draft), DraftEdits(draft)
    token = edits.remove(["cat 1.png", "cat 3.png", "not there.png"])
    assert draft.images.names() == ["cat 0.png", "cat 2.png"]
    assert not (draft.images.path / "cat 1.txt").exists()
    edits.undo(token)
    assert content(draft) == before


def test_undo_after_remove_all_restores_captions_without_image_too(draft):
    (draft.images.path / "later.txt").write_text("its image comes later")
    before, edits = content(draft), DraftEdits(draft)
    token = edits.remove_all()
    assert content(draft) == {}
    edits.undo(token)
    assert content(draft) == before


def test_captions_of_no_image_are_removed_and_put_back(draft):
    for name in ("notes.txt", "NOTES 2.TXT"):
        (draft.images.path / name).write_text("for later")
    before, edits = content(draft), DraftEdits(draft)
    token = edits.remove_unused_captions()
    assert content(draft).keys() == before.keys() - {"notes.txt", "NOTES 2.TXT"}
    edits.undo(token)
    assert content(draft) == before


def test_undo_of_captions_keeps_one_that_was_changed_since(draft):
    edits = DraftEdits(draft)
    before = draft.images.caption("cat 0.png")
    token = edits.set_captions({"cat 0.png": "new 0", "cat 1.png": ""})
    assert (draft.images.caption("cat 0.png"), draft.images.caption("cat 1.png")) == ("new 0", "")
    draft.images.set_caption("cat 1.png", "typed since")
    edits.undo(token)
    assert (draft.images.caption("cat 0.png"), draft.images.caption("cat 1.png")) == (before, "typed since")


def test_undo_numbers_image_whose_name_exists(draft):
    edits = DraftEdits(draft)
    removed, caption = (draft.images.path / "cat 1.png").read_bytes(), draft.images.caption("cat 1.png")
    token = edits.remove(["cat 1.png"])
    (draft.images.path / "cat 1.png").write_bytes(b"another image")
    edits.undo(token)
    assert (draft.images.path / "cat 1.png").read_bytes() == b"another image"
    assert (draft.images.path / "cat 1-2.png").read_bytes() == removed
    assert draft.images.caption("cat 1-2.png") == caption


@pytest.fixture
def shared(draft):
    """Return a draft in which two images have one caption: cat 1.jpg and cat 1.png."""
    (draft.images.path / "cat 1.jpg").write_bytes((draft.images.path / "cat 2.png").read_bytes())
    return draft


@pytest.mark.parametrize("order", [["cat 1.jpg", "cat 1.png"], ["cat 1.png", "cat 1.jpg"]])
def test_removing_one_of_two_images_with_one_caption_keeps_it_for_other(shared, order):
    before, edits = content(shared), DraftEdits(shared)
    tokens = []
    for removed, left in ((order[0], [order[1]]), (order[1], [])):
        tokens.append(edits.remove([removed]))
        assert [name for name in shared.images.names() if name.startswith("cat 1.")] == left
        assert (shared.images.path / "cat 1.txt").exists() == bool(left)
    for token in tokens:
        edits.undo(token)
    assert content(shared) == before


def test_undo_restores_two_images_with_one_caption(shared):
    before, edits = content(shared), DraftEdits(shared)
    edits.undo(edits.remove(["cat 1.png", "cat 1.jpg"]))
    assert content(shared) == before
    edits.undo(edits.remove_all())
    assert content(shared) == before


def test_undo_keeps_caption_that_other_image_got_since(shared):
    edits, caption = DraftEdits(shared), shared.images.caption("cat 1.png")
    token = edits.remove(["cat 1.jpg"])
    shared.images.set_caption("cat 1.png", "typed since")
    edits.undo(token)
    assert shared.images.caption("cat 1.png") == "typed since"
    assert shared.images.caption("cat 1-2.jpg") == caption


def test_undo_never_gives_two_images_one_name(draft):
    edits = DraftEdits(draft)
    (draft.images.path / "cat 1-2.png").write_bytes(b"the second")
    token = edits.remove(["cat 1.png", "cat 1-2.png"])
    (draft.images.path / "cat 1.png").write_bytes(b"another image")
    edits.undo(token)
    assert (draft.images.path / "cat 1-2.png").read_bytes() == b"the second"
    assert draft.images.names()[1:4] == ["cat 1-2.png", "cat 1-3.png", "cat 1.png"]


def test_captions_are_changed_atomically(draft):
    before = draft.images.captions()
    with pytest.raises(DatasetError, match="longer than"):
        DraftEdits(draft).set_captions({"cat 0.png": "new", "cat 1.png": "x" * 30_000, "cat 2.png": "new"})
    assert draft.images.captions() == before

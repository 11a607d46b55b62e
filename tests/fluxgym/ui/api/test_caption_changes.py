"""Texts are added to captions and replaced in them."""

import pytest

from fluxgym.dataset.folder import MAX_CAPTION, ImageFolder
from fluxgym.errors import DatasetError
from fluxgym.ui.api.caption_changes import added_text, changed_captions, replaced_text
from tests.support.photos import write_cats


@pytest.mark.parametrize(
    ("change", "before", "after"),
    [
        (added_text("sks", at_start=True), "a cat", "sks, a cat"), (added_text("sks", at_start=False), "a cat", "a cat, sks"),
        (added_text("sks", at_start=True), "", "sks"), (replaced_text("cat", "tabby"), "cat and cat", "tabby and tabby"),
        (replaced_text("dog", "tabby"), "a cat", "a cat"),
    ],
)  # fmt: skip
def test_a_change_gives_a_caption_of_the_length_that_it_names(change, before, after):
    assert change.apply(before) == after
    assert change.new_length(before) == len(after)


def test_only_captions_that_change_are_returned(tmp_path):
    folder = ImageFolder(write_cats(tmp_path, count=3, caption="a cat"))
    folder.set_caption("cat 0.png", "a cat")
    folder.set_caption("cat 1.png", "a dog")
    names = ["cat 0.png", "cat 1.png", "gone.png"]
    assert changed_captions(folder, names, replaced_text("cat", "tabby")) == {"cat 0.png": "a tabby"}


def test_a_caption_that_would_be_too_long_is_refused_and_not_built(tmp_path):
    folder = ImageFolder(write_cats(tmp_path, count=1, caption="a cat"))
    change = replaced_text("a", "x" * MAX_CAPTION)
    with pytest.raises(DatasetError):
        changed_captions(folder, ["cat 0.png"], change)

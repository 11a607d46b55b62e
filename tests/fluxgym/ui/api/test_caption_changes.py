"""Changes of many captions: their length is computed exactly before a caption is built."""

import pytest

from fluxgym.ui.api.caption_changes import added_text, replaced_text


@pytest.mark.parametrize("old", ["", "a cat", "cat, cat"])
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (added_text("sks", at_start=True), {"": "sks", "a cat": "sks, a cat", "cat, cat": "sks, cat, cat"}),
        (added_text("sks", at_start=False), {"": "sks", "a cat": "a cat, sks", "cat, cat": "cat, cat, sks"}),
        (replaced_text("cat", "kitten"), {"": "", "a cat": "a kitten", "cat, cat": "kitten, kitten"}),
    ],
)
def test_change_of_caption_has_announced_length(change, expected, old):
    assert change.apply(old) == expected[old]
    assert change.new_length(old) == len(expected[old])

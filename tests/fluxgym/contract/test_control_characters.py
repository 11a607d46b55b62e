"""Control characters in texts are found; white space and every other character is not one."""

import pytest

from fluxgym.contract.control_characters import complaint_about, control_character_in


@pytest.mark.parametrize(
    ("text", "found"), [("a\x07b", "U+0007"), ("\x1b[31mred", "U+001B"), ("a\x7f", "U+007F"), ("\x85", "U+0085"), ("\x0b", "U+000B")]
)
def test_control_character_is_found(text, found):
    assert control_character_in(text) == found
    assert found in complaint_about(text)


@pytest.mark.parametrize("text", ["", "a\tb\nc\r\n", "зелёный кот", "日本語", "👩‍👩‍👧", "a\u200db"])
def test_other_characters_are_not_found(text):
    assert control_character_in(text) == complaint_about(text) == ""

"""A line of sample prompts is read by one grammar, in the form and by the trainer."""

import re

import pytest

from fluxgym.contract.sample_prompts import read_prompt


def test_kohya_flags_are_read():
    assert read_prompt("a cat --w 512 --h 768 --d 7 --s 20 --g 3.5 --l 2 --n ugly, blurred --ss euler") == (
        "a cat",
        {
            "width": 512,
            "height": 768,
            "seed": 7,
            "sample_steps": 20,
            "guidance_scale": 3.5,
            "scale": 2.0,
            "negative_prompt": "ugly, blurred",
        },
    )
    assert read_prompt("a well--known cat") == ("a well--known cat", {})


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("a cat --seed 42", "--seed is not supported in sample prompts; use --d."), ("a cat --zz 3", "known: --w, --h"),
        ("a cat --w 9999", "--w 9999 must be between 1 and 8192."), ("a cat --w 512.5", "--w 512.5 is not a whole number."),
        ("a cat --g 3,5", "use a point: 3.5."), ("a cat --g nan", "must be between"), ("a cat --d -1", "must be between"),
        ("a cat --w", "--w  is not a whole number."), ("--w 512", "no text before its options"),
    ],
)  # fmt: skip
def test_invalid_prompt_line_is_refused(line, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        read_prompt(line)

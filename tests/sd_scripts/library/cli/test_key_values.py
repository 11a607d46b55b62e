"""The key=value pairs of --optimizer_args and --lr_scheduler_args are Python literals."""

import pytest

from library.cli.key_values import parse_key_values
from library.errors import TrainerError


def test_pairs_are_parsed_and_their_texts_kept():
    pairs = ("betas=(0.9,0.99)", "amsgrad=True", "eps=1e-6")
    parsed = parse_key_values("--x", pairs)
    assert parsed.values == {"betas": (0.9, 0.99), "amsgrad": True, "eps": 1e-6}
    assert parsed.texts == pairs


@pytest.mark.parametrize("pair", ["eps", "=1", "eps=__import__('os')", "eps=1e31", "betas=(0.9,1e400)"])
def test_a_pair_that_is_no_literal_or_out_of_range_is_named(pair):
    with pytest.raises(TrainerError, match=r"^--x ") as caught:
        parse_key_values("--x", [pair])
    assert pair in str(caught.value)

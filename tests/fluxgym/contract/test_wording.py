"""Names in messages are limited in number."""

from fluxgym.contract.wording import listed


def test_many_names_are_counted():
    assert listed("abcde") == "a, b, c and 2 more"

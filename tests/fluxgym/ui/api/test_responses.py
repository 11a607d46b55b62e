"""A user's mistake becomes one sentence; a bug stays a bug; messages of any shape are survived."""

import pytest

from fluxgym.errors import DatasetError
from fluxgym.ui.api.responses import fingerprint, integer, json_endpoint, text


class Part:
    """A part of the page with server functions."""

    @json_endpoint
    def refuse(self, data):
        """Refuse as for a user's mistake."""
        raise DatasetError("The image is damaged.")

    @json_endpoint
    def fail(self, data):
        """Fail as for a bug."""
        raise KeyError("bug")


def test_a_users_mistake_is_a_sentence():
    assert Part().refuse({}) == {"error": "The image is damaged."}


def test_a_bug_is_raised():
    with pytest.raises(KeyError):
        Part().fail({})


@pytest.mark.parametrize("data", [None, "text", [1], 7])
def test_a_request_that_is_not_an_object_is_refused(data):
    assert "reload" in Part().refuse(data)["error"]


@pytest.mark.parametrize("value", [None, True, "3", 2.5, [1]])
def test_values_of_a_wrong_type_become_the_lower_bound(value):
    assert integer({"x": value}, "x", 1, 5) == 1
    assert text({"x": value if not isinstance(value, str) else 3}, "x") == ""


def test_numbers_stay_within_their_bounds():
    assert [integer({"x": value}, "x", 1, 5) for value in (-3, 3, 10**12)] == [1, 3, 5]


def test_fingerprints_differ_with_contents():
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})

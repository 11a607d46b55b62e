"""The order in which the contents of a form are saved."""

import time

import pytest

from fluxgym.sessions.drafts import FormOrder, open_draft

NOW = time.time()


def order(page, number, seconds):
    return FormOrder(page=page, number=number, edited_at=NOW + seconds)


@pytest.mark.parametrize(
    ("saved", "then", "is_written"),
    [
        (order("a", 2, -5), order("a", 1, 0), False),  # the requests of one page by their number
        (order("a", 1, 0), order("a", 2, -5), True),
        (order("a", 9, -5), order("b", 1, 0), True),  # two pages by the time of the edit
        (order("a", 1, 0), order("b", 9, -5), False),
        (order("a", 1, 3600), order("b", 1, 0), True),  # saved before a clock was set back by an hour
        (order("a", 1, 0), None, True),
    ],
)
def test_older_content_never_replaces_newer(tmp_path, saved, then, is_written):
    draft = open_draft(tmp_path, "0123456789abcdef")
    assert draft.write_form({"state": "first"}, saved)
    assert draft.write_form({"state": "second"}, then) is is_written
    assert draft.read_form()["state"] == ("second" if is_written else "first")


def test_discarded_content_is_not_brought_back_by_older_request(tmp_path):
    draft = open_draft(tmp_path, "0123456789abcdef")
    assert draft.forget_form(order("a", 5, 0))
    assert not draft.write_form({"state": "late"}, order("a", 4, 0))
    assert draft.read_form() is None

"""The pages around the token: what is shown in them is escaped."""

import pytest

from fluxgym.ui.security.login_pages import login_page, reopen_page, welcome_page

HOSTILE = '/x?"><script>alert(1)</script>'


@pytest.mark.parametrize(
    "page",
    [login_page(HOSTILE, HOSTILE, "nonce"), welcome_page(HOSTILE, "nonce"), reopen_page(HOSTILE, HOSTILE, "nonce")],
    ids=["login", "welcome", "reopen"],
)
def test_error_pages_escape_values(page):
    assert HOSTILE not in page
    assert "<script>alert" not in page

"""Fixtures of the form's tests: folders, a draft, and a page that was opened. Other tests of this folder have their own."""

import pytest

from fluxgym.sessions.drafts import open_draft
from tests.support.drafts import new_draft_id
from tests.support.form_page import FormPage
from tests.support.small_installation import small_installation


@pytest.fixture
def settings(tmp_path):
    """Return folders of this test."""
    return small_installation(tmp_path)


@pytest.fixture
def draft(settings):
    """Return this browser's draft."""
    return open_draft(settings.outputs, new_draft_id())


@pytest.fixture
def page(settings, draft):
    """Return a page that was opened."""
    page = FormPage(settings, draft)
    page.open()
    return page

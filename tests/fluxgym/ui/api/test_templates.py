"""The names of the templates, and deleting one."""

import pytest

from fluxgym.runs.paths import OutputsPaths
from fluxgym.sessions import templates
from fluxgym.ui.api.templates import TemplateRoutes
from tests.support.api import error, router_client, value
from tests.support.small_installation import small_installation, state


@pytest.fixture
def settings(tmp_path):
    """Return folders of this test."""
    return small_installation(tmp_path)


@pytest.fixture
def client(settings):
    """Return a client of the routes."""
    return router_client([TemplateRoutes(settings).router])


def test_templates_are_listed_and_deleted(client, settings):
    assert value(client.get("templates")) == {"templates": []}
    for name in ("Faces", "<b> & Cats"):
        templates.save(OutputsPaths(settings.outputs), name, state())
    assert set(value(client.get("templates"))["templates"]) == {"Faces", "<b> & Cats"}
    assert value(client.delete("templates/Faces")) == {"templates": ["<b> & Cats"]}
    assert "no template" in error(client.delete("templates/Faces"), 404)


@pytest.mark.parametrize("name", ["..", "..%2F..%2Fx", "%2Fetc", "a%00b", "a%0Ab", "x" * 5000, "%ff", "🐱"])
def test_template_that_does_not_exist_is_refused(client, settings, name):
    templates.save(OutputsPaths(settings.outputs), "Faces", state())
    response = client.delete(f"templates/{name}")
    assert response.status_code in (400, 404, 405)
    assert value(client.get("templates")) == {"templates": ["Faces"]}

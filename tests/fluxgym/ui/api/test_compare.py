"""Two runs side by side: settings with the labels of the form, results, and both curves."""

import json

import pytest

from fluxgym.ui.api.compare import CompareRoutes
from tests.support.api import error, router_client, value
from tests.support.runs import make_run
from tests.support.small_installation import small_installation


@pytest.fixture
def settings(tmp_path):
    """Return folders of this test."""
    return small_installation(tmp_path)


@pytest.fixture
def client(settings):
    """Return a client of the route."""
    return router_client([CompareRoutes(settings).router])


def test_settings_and_results_of_two_runs(client, settings):
    first = make_run(settings.outputs, "cat", status="completed", learning_rate="1e-4", advanced={"network_dropout": 0.1})
    make_run(settings.outputs, "dog", status="completed", learning_rate="2e-4")
    first.progress.write_text(
        "".join(json.dumps({"phase": "training", "step": step, "total_steps": 2, "loss": step / 4}) + "\n" for step in (1, 2))
    )
    answer = value(client.get("compare", params={"slug": ["cat", "dog"]}))
    found = {row["label"]: row for row in answer["settings"]}
    assert found["Learning rate"] == {"label": "Learning rate", "values": ["1e-4", "2e-4"], "differs": True}
    assert found["Seed"]["differs"] is False
    assert found["--network_dropout"]["values"] == ["0.1", ""]
    assert found["Last loss"]["values"] == ["0.5000", ""]
    assert [run["points"] for run in answer["runs"]] == [[[1, 0.25], [2, 0.5]], []]


@pytest.mark.parametrize(("slugs", "status"), [(["cat"], 409), (["cat", "gone"], 404), (["cat", "../x"], 404), (["cat"] * 3, 409)])
def test_anything_but_two_runs_is_refused(client, settings, slugs, status):
    make_run(settings.outputs, "cat", status="completed")
    assert error(client.get("compare", params={"slug": slugs}), status)

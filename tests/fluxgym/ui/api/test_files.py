"""Several runs are exported as one archive: all existing ones, within the limit, and under known names only."""

import io
import zipfile

import pytest

from fluxgym.ui.api.files import ARCHIVES, MAX_EXPORTED, FileRoutes
from fluxgym.ui.api.responses import API
from tests.support.api import error, router_client
from tests.support.photos import write_cats
from tests.support.runs import make_run
from tests.support.small_installation import small_installation


@pytest.fixture(name="client")
def fixture_client(tmp_path):
    settings = small_installation(tmp_path)
    for name in ("cat", "dog"):
        write_cats(make_run(settings.outputs, name).dataset, count=1)
    client = router_client([FileRoutes(settings).router])
    client.base_url = str(client.base_url).replace(f"{API}/", "/fluxgym/")
    return client


@pytest.mark.parametrize("name", ARCHIVES)
def test_archive_holds_every_run_once(client, name):
    answer = client.get(f"export/{name}", params={"slug": ["cat", "dog", "cat"]})
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        names = archive.namelist()
    assert [entry for entry in names if entry.endswith("ui_state.json")] == ["cat/ui_state.json", "dog/ui_state.json"]
    assert any(entry.endswith(".png") for entry in names) is ARCHIVES[name].images


def test_too_many_runs_and_unknown_archives_are_refused(client):
    slugs = [f"run-{number}" for number in range(MAX_EXPORTED + 1)]
    assert f"At most {MAX_EXPORTED} runs" in error(client.get("export/settings.zip", params={"slug": slugs}), 409)
    assert client.get("export/nosuch.zip", params={"slug": ["cat"]}).status_code == 404


def test_broken_archive_is_refused_as_an_archive(client):
    answer = client.put(f"{client.base_url.copy_with(path='/')}fluxgym/import/bad.zip", content=b"\xff\xd8 no archive")
    assert "bad.zip is not a FluxGym export, or it is damaged: it cannot be opened as a .zip" in answer.text

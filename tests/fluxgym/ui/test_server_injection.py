"""HTML and scripts in names, captions, reasons and templates are returned as JSON text that no browser renders."""

import json
from urllib.parse import quote

import pytest

from fluxgym.ui.api.responses import API
from tests.support.api import app_client
from tests.support.photos import write_cats
from tests.support.runs import make_run
from tests.support.small_installation import small_installation

HOSTILE = "<img src=x onerror=alert(1)>\"'`${alert(1)}&lt;"
NAME = "<script>alert(1)<script> & cat"  # a name can have no slash


@pytest.fixture(name="client", scope="module")
def fixture_client(tmp_path_factory):
    settings = small_installation(tmp_path_factory.mktemp("world"))
    run = make_run(
        settings.outputs, "cat", lora_name=NAME, concept_sentence=HOSTILE, status="failed", reason=HOSTILE, reason_code="trainer_error",
        sample_prompts=HOSTILE, advanced={"optimizer_type": HOSTILE},
    )  # fmt: skip
    write_cats(run.dataset, count=1)
    (run.dataset / "cat 0.txt").write_text(HOSTILE)
    run.training_log.write_text(HOSTILE)
    run.monitor_log.write_text(HOSTILE)
    client = app_client(settings)
    client.post(f"{API}/sessions/cat/template", json={"name": NAME}).raise_for_status()
    return client


DRAFT = "0123456789abcdef" * 2
ADDRESSES = {
    "sessions": [NAME, HOSTILE],
    "banner": [NAME, HOSTILE],
    "runs/cat": [NAME, HOSTILE],
    f"drafts/{DRAFT}/images?source=cat": [HOSTILE],
    "templates": [NAME],
    "sessions/cat/history": [],
    f"compare?slug=cat&slug={quote(HOSTILE)}": [],
    f"runs/{quote(HOSTILE)}": [],
    f"sessions?filter={quote(HOSTILE)}": [],
    f"drafts/{DRAFT}/images?source={quote(HOSTILE)}": [HOSTILE],
    f"sessions/{quote(HOSTILE)}/history": [],
    f"drafts/{quote(HOSTILE)}/images": [],
    "openapi.json": [],
}


@pytest.mark.parametrize("address", ADDRESSES)
def test_hostile_text_is_json_text(client, address):
    response = client.get(f"{API}/{address}", headers={"accept": "text/html"})
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.status_code in (200, 400, 404, 409)
    answer = response.json()

    def texts(value):
        if isinstance(value, dict):
            return [text for item in value.values() for text in texts(item)]
        if isinstance(value, list):
            return [text for item in value for text in texts(item)]
        return [value] if isinstance(value, str) else []

    for text in ADDRESSES[address]:
        assert any(text in found for found in texts(answer)), f"{text} is not in {json.dumps(answer)[:500]}"


@pytest.mark.parametrize(
    "path",
    [
        f"/fluxgym/runs/{quote(HOSTILE)}/loras/x.safetensors",
        f"/fluxgym/assets/x/{quote(HOSTILE)}",
        f"/{quote(HOSTILE)}",
        f"{API}/{quote(HOSTILE)}",
    ],
)
def test_address_that_does_not_exist_is_not_repeated(client, path):
    response = client.get(path.format(quote(HOSTILE)), headers={"accept": "text/html"})
    assert response.status_code == 404
    assert "<img" not in response.text
    assert response.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("name", ["images/<b>.svg", "images/x.html", "import/x.html"])
def test_no_upload_is_kept_as_page(client, name):
    page = b"<!doctype html><script>alert(1)</script>"
    folder, _, file = name.partition("/")
    path = f"/fluxgym/drafts/{DRAFT}/images/{quote(file)}" if folder == "images" else f"/fluxgym/import/{quote(file)}"
    response = client.put(path, content=page)
    assert response.status_code in (400, 409)
    assert response.headers["content-type"] == "application/json"

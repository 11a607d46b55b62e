"""Invalid input to every route of the route table, and invalid states: never a server error, never a raw system message."""

import json
import re
from pathlib import Path
from urllib.parse import quote

import pytest
from fastapi.routing import iter_route_contexts
from starlette.routing import Mount

from fluxgym.config.settings import SETTINGS
from fluxgym.ui.api.responses import API
from fluxgym.ui.page import MAX_SESSIONS
from fluxgym.ui.security.guard import is_known_route
from fluxgym.ui.server import make_server
from tests.support.api import app_client, error
from tests.support.drafts import new_draft_id
from tests.support.photos import write_cats
from tests.support.routes import walk
from tests.support.runs import make_run
from tests.support.small_installation import small_installation, write_safetensors

JSON = {"content-type": "application/json"}
NAMES = (
    "x" * 300,
    "x" * 250 + ".png",
    quote("ü" * 150) + ".txt",
    "%00",
    "%ff",
    "%ed%a0%80",
    "..",
    "a%2fb",
    quote("😀" * 80),
    "x" * 5000,
    "-",
    "%0a.png",
)
BODIES = (
    b"", b"{}", b"[]", b"null", b"1", b"{", b"\xff", b"[" * 5000, b'{"caption": "\\ud800"}', b'{"caption": 1}', b'{"name": "\\ud800"}',
    b'{"name": "' + b"x" * 300 + b'"}', b'{"names": ["\\ud800"], "text": "a", "find": "b"}', b'{"names": ["' + b"x" * 300 + b'"], "text": "a", "find": "b"}',
    b'{"token": "../../x"}', b'{"token": "' + b"a" * 300 + b'"}', b'{"runs": [{"slug": "\\ud800"}]}', b'{"runs": [{"slug": "' + b"x" * 300 + b'"}]}',
    b'{"runs": [{"slug": "\\u0000"}]}', b'{"days": 1e308}', b'{"epochs": 1e308}', b'{"checkpoint": "\\ud800"}', b'{"checkpoint": "../../x"}',
    b'{"version": "../x"}',
)  # fmt: skip
ODD_VALUES = (None, [], {}, "48G", -1, 1e308, True, "x" * 400, "\0", [1], 10**400, "../..", ["\ud800"], "\ud800")
STATES_SHOWN = (
    "sessions?sort=loss",
    "sessions?sort=model",
    "banner",
    "runs/cat",
    "sessions/cat/history",
    "compare?slug=cat&slug=dog",
    "sweep?days=0",
)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Return settings with two runs, and a client of the whole app, which raises the app's errors."""
    settings = small_installation(tmp_path_factory.mktemp("world"))
    settings.outputs.mkdir()
    for name in ("cat", "dog"):
        write_cats(make_run(settings.outputs, name).dataset, count=1)
    return settings, app_client(settings)


@pytest.fixture(scope="module")
def routes(world):
    """Return (method, path) of all routes that are served, but those that never end."""
    all_routes = walk(make_server(world[0]).app.routes)
    return [(method, path) for method, path in all_routes if is_known_route(re.sub(r"\{[^}]*\}", "x", path)) and "heartbeat" not in path]


def check(answer) -> None:
    assert answer.status_code < 500 or answer.status_code == 507, (answer.request.method, str(answer.request.url)[:200], answer.text[:200])
    assert "Errno" not in answer.text, (answer.request.method, str(answer.request.url)[:200], answer.text[:200])


def filled(path: str, odd: str, position: int) -> str:
    """Put the odd value at one position of a route's parameters and usable values at the others."""
    names = re.findall(r"\{([^}]*)\}", path)
    usual = {"draft": new_draft_id(), "slug": "cat", "action": "template", "name": "a.png"}
    for index, name in enumerate(names):
        path = path.replace(f"{{{name}}}", odd if index == position else usual.get(name, "x"), 1)
    return path


@pytest.mark.parametrize("odd", NAMES, ids=lambda text: text[:12])
def test_invalid_name_in_any_route_never_is_server_error(world, routes, odd):
    _, client = world
    for method, path in routes:
        if method == "GET" and "queue/data" not in path and "startup-events" not in path:
            for position in range(path.count("{")):
                check(client.get(filled(path, odd, position), params={"source": odd[:300], "slug": odd[:300], "days": 1}))


@pytest.mark.parametrize("body", BODIES, ids=lambda body: repr(body[:14]))
def test_invalid_body_in_any_route_of_api_never_is_server_error(world, routes, body):
    _, client = world
    for method, path in routes:
        if path.startswith("/fluxgym/") and method in ("POST", "PATCH", "PUT"):
            for odd in ("x" * 300, "a.png", "cat"):
                for position in range(max(1, path.count("{"))):
                    check(client.request(method, filled(path, odd, position), content=body, headers=JSON))


@pytest.mark.parametrize("key", [*SETTINGS, "advanced", "reason_code", "run_id", "timestamp", "status"])
def test_invalid_value_in_state_never_is_server_error(world, key):
    settings, client = world
    path = settings.outputs / "cat" / "ui_state.json"
    whole = path.read_text()
    try:
        for value in ODD_VALUES:
            path.write_text(json.dumps(json.loads(whole) | {"status": "failed", "reason_code": "cuda_oom", key: value}))
            for shown in STATES_SHOWN:
                check(client.get(f"{API}/{shown}"))
            check(client.get("/fluxgym/runs/cat/export/state.json"))
    finally:
        path.write_text(whole)


def form_event(client, kind: str, changes: dict[str, object] | None = None, session: str = "s", **details: object):
    """Send an event of the form through Gradio, as the page does."""
    config = client.get("/config").json()
    event = next(one for one in config["dependencies"] if one["backend_fn"])
    parts = {one["id"]: one["props"] for one in config["components"]}
    values = [(changes or {}).get(parts[number]["elem_id"], parts[number].get("value")) for number in event["inputs"]]
    form = {"request": 1, "kind": kind, "draft": new_draft_id(), **details}
    body = {
        "data": values,
        "fn_index": event["id"],
        "session_hash": session,
        "event_data": {"form": form},
        "trigger_id": event["targets"][0][0],
    }
    return client.post("/gradio_api/run/predict", content=json.dumps(body).encode(), headers=JSON)


@pytest.mark.parametrize(
    ("field", "values"), [("vram", ("48G", 5, [], {}, True)), ("base_model", (5, [], {}, "x" * 300)), ("lora_name", ("n" * 300, "\0", 5))]
)
def test_invalid_field_of_form_is_answered(world, field, values):
    for value in values:
        for kind in ("typed", "start", "model", "save_template"):
            answer = form_event(world[1], kind, {f"field-{field}": value}, name="n" * 300)
            assert answer.status_code == 200, (value, kind, answer.text)


def test_run_with_unknown_vram_choice_opens_and_is_reported(world):
    settings, client = world
    make_run(settings.outputs, "big", vram="48G")
    answer = form_event(client, "open", slug="big").json()["data"][0]
    assert "48G" in json.dumps(answer["errors"]) + json.dumps(answer["lines"]) + answer.get("message", "")


@pytest.mark.parametrize("name", ["a.png", "a.txt", "x" * 300 + ".png", quote("ü" * 150) + ".png"])
def test_image_before_its_draft_is_refused_or_creates_it(tmp_path, name):
    settings = small_installation(tmp_path)  # without outputs/
    client = app_client(settings)
    for method, path, content in (
        ("PATCH", f"{API}/drafts/{{}}/images/{name}", b'{"caption": "x"}'), ("DELETE", f"{API}/drafts/{{}}/images/{name}", b""),
        ("GET", f"/fluxgym/drafts/{{}}/images/{name}", b""), ("PUT", f"/fluxgym/drafts/{{}}/images/{name}", b"x"),
    ):  # fmt: skip
        answer = client.request(method, path.format(new_draft_id()), content=content, headers=JSON)
        assert answer.status_code in (200, 400, 404), (method, answer.text)


def test_folder_that_cannot_be_written_is_reported_with_message(tmp_path):
    settings = small_installation(tmp_path)
    settings.outputs.mkdir()
    make_run(settings.outputs, "cat")
    (settings.outputs / ".fluxgym").write_text("a file where the app's folder should be")
    client = app_client(settings)
    for method, path in (
        ("POST", f"{API}/drafts/{new_draft_id()}/example"), ("GET", "/fluxgym/states.tar.gz"), ("GET", "/fluxgym/runs/cat/export/state.json"),
        ("PUT", f"/fluxgym/drafts/{new_draft_id()}/images/a.png"), ("PUT", "/fluxgym/import/a.zip"),
    ):  # fmt: skip
        sentence = error(client.request(method, path, content=b"x" if method == "PUT" else b"{}", headers=JSON), 507)
        assert str(settings.outputs / ".fluxgym") in sentence
        assert "Errno" not in sentence
    answer = form_event(client, "typed", {"field-lora_name": "cat"}).json()["data"][0]
    assert ".fluxgym" in answer["message"]


def test_linked_sample_or_lora_is_neither_listed_nor_served(tmp_path):
    settings = small_installation(tmp_path)
    run = make_run(settings.outputs, "cat")
    run.samples.mkdir()
    names = [f"cat_{step:06d}_00_20250101000000_42.png" for step in (10, 20, 30)]
    (tmp_path / "secret.png").write_bytes(b"x")
    (run.samples / names[0]).write_bytes(b"x")
    (run.samples / names[1]).symlink_to(tmp_path / "secret.png")
    (run.samples / names[2]).mkdir()
    write_safetensors(run.lora)
    (run.folder / "cat-000001.safetensors").symlink_to(run.lora)
    client = app_client(settings)
    page = client.get(f"{API}/runs/cat").json()
    listed = [url for column in page["samples"]["columns"] for url in column["images"]] + [file["url"] for file in page["files"]["files"]]
    assert [Path(url).name for url in listed] == [names[0], "cat.safetensors"]
    assert all(client.get(f"/fluxgym/{url}").status_code == 200 for url in listed)


def test_sessions_of_page_are_bounded_and_old_ones_still_answer(tmp_path):
    settings = small_installation(tmp_path)
    client = app_client(settings)
    for number in range(MAX_SESSIONS * 3):
        assert form_event(client, "restore", session=f"session-{number}").status_code == 200
    (gradio,) = [
        route.original_route.app for route in iter_route_contexts(client.app.app.routes) if isinstance(route.original_route, Mount)
    ]
    assert len(gradio.state_holder.session_data) == MAX_SESSIONS
    assert form_event(client, "typed", {"field-lora_name": "cat"}, session="session-0").status_code == 200

"""Every route of the whole app, from its route table: without a token, from another site or for another host, no request reaches one."""

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from fluxgym.ui.api.responses import API
from fluxgym.ui.security.guard import Guard, is_known_route
from fluxgym.ui.security.request_body import MAX_MESSAGE_BYTES
from fluxgym.ui.security.token_auth import TokenAuth
from tests.support.api import BASE_URL, LOCAL
from tests.support.routes import all_routes

TOKEN = "a long secret"
CROSS_SITE = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "cors", "sec-fetch-dest": "empty"}
JSON = {"content-type": "application/json"}


ROUTES = all_routes()
KNOWN = [route for route in ROUTES if is_known_route(route[1])]
CHANGING = [(method, path) for method, path in KNOWN if path.startswith(f"{API}/") and method in ("POST", "PATCH", "PUT", "DELETE")]


@pytest.fixture
def reached():
    """Return the list of the requests that the guard let through."""
    return []


@pytest.fixture
def client(reached):
    """Return a client of the guard that requires the token; behind it, every request is only noted."""

    async def app(scope, receive, send):
        reached.append((scope["method"], scope["path"]))
        await Request(scope, receive).body()
        await PlainTextResponse("reached")(scope, receive, send)

    guard = Guard(app, token_auth=TokenAuth(TOKEN, 7860), allowed_hosts=(), beyond_loopback=False)
    return TestClient(guard, base_url=BASE_URL, client=LOCAL, follow_redirects=False)


def by_route(routes):
    return pytest.mark.parametrize(("method", "path"), routes, ids=lambda value: value)


def test_table_holds_api_files_and_gradio_routes():
    paths = {path for _, path in ROUTES}
    assert {f"{API}/openapi.json", f"{API}/sessions", f"{API}/sessions/x/x", "/fluxgym/runs/x/loras/x", "/fluxgym/import/x"} <= paths
    assert {"/", "/config", "/gradio_api/queue/join", "/gradio_api/upload", "/gradio_api/file=x", "/monitoring"} <= paths
    assert len(CHANGING) >= 12
    assert len(KNOWN) > 60


@by_route(ROUTES)
def test_no_route_answers_without_token(client, reached, method, path):
    for headers in ({}, {"accept": "text/html"}, {"authorization": "Bearer wrong"}, {"cookie": "fluxgym_7860=wrong"}):
        response = client.request(method, path, headers=headers | JSON)
        assert response.status_code == (401 if is_known_route(path) else 404)
    assert reached == []
    if path.startswith(f"{API}/"):
        assert method == "HEAD" or set(response.json()["error"]) == {"message", "field", "code"}


@by_route(ROUTES)
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "http://evil.example"}, 403), ({"origin": "null"}, 403), (CROSS_SITE, 403), (CROSS_SITE | {"sec-fetch-site": "same-site"}, 403),
        ({"host": "evil.example"}, 403), ({"host": "127.0.0.1.evil.example"}, 403), ({"x-forwarded-host": "evil.example"}, 403),
    ],
    ids=["origin", "null origin", "cross-site", "same-site", "host", "host that looks local", "forwarded host"],
)  # fmt: skip
def test_no_route_answers_another_site_or_host_even_with_token(client, reached, method, path, headers, status):
    response = client.request(method, path, headers=headers | JSON | {"authorization": f"Bearer {TOKEN}"})
    assert (response.status_code, reached) == (status, [])


@by_route(KNOWN)
def test_every_known_route_is_reached_with_token(client, reached, method, path):
    response = client.request(method, path, headers=JSON | {"authorization": f"Bearer {TOKEN}"})
    assert (response.status_code, reached) == (200, [(method, path)])
    assert response.headers["x-content-type-options"] == "nosniff"


@by_route([route for route in ROUTES if route not in KNOWN])
def test_unused_routes_are_not_served_even_with_token(client, reached, method, path):
    response = client.request(method, path, headers=JSON | {"authorization": f"Bearer {TOKEN}"})
    assert (response.status_code, reached) == (404, [])


@by_route(CHANGING)
def test_no_route_of_api_reads_body_without_limit(client, reached, method, path):
    headers = {"authorization": f"Bearer {TOKEN}"} | JSON
    response = client.request(method, path, headers=headers, content=b" " * (MAX_MESSAGE_BYTES + 1))
    assert (response.status_code, reached) == (413, [])
    assert "too large" in response.json()["error"]["message"]


@by_route([(method, path) for method, path in CHANGING if method != "DELETE"])
@pytest.mark.parametrize(
    "content_type", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/jsonp"]
)
def test_no_form_of_another_site_is_read_as_json(client, reached, method, path, content_type):
    headers = {"authorization": f"Bearer {TOKEN}"} | ({"content-type": content_type} if content_type else {})
    response = client.request(method, path, headers=headers, content=b"{}")
    assert (response.status_code, reached) == (415, [])

"""Which requests reach a route: those with an allowed host and origin, to a known route, and with the token if one is set."""

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from fluxgym.ui.security.guard import Guard, is_known_route
from fluxgym.ui.security.request_body import MAX_MESSAGE_BYTES
from fluxgym.ui.security.token_auth import TRIES, TokenAuth
from tests.support.api import BASE_URL, LOCAL

TOKEN = "a long secret"
ROUTES = ("/", "/config", "/gradio_api/info", "/gradio_api/queue/join", "/fluxgym/assets/x/dom.js", "/fluxgym/runs/x/loras/x.safetensors")


def client(token: str | None = None, *, base: str = "http://127.0.0.1:7860", allowed: tuple[str, ...] = (), **more) -> TestClient:
    async def reached(request: Request) -> PlainTextResponse:
        return PlainTextResponse(f"reached {request.scope['path']}")

    app = Starlette(routes=[Route("/{path:path}", reached, methods=["GET", "POST", "PUT"])])
    guard = Guard(app, token_auth=TokenAuth(token, 7860), allowed_hosts=allowed, beyond_loopback=more.pop("beyond_loopback", False), **more)
    return TestClient(guard, base_url=base, client=LOCAL)


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost:7860", "[::1]:7860", "127.0.0.1"])
def test_local_hosts_are_let_through(host):
    assert client().get("/", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:7860", "0x7f.1@evil", "a b"])
def test_host_that_is_not_allowed_reaches_nothing(route, host):
    answer = client().get(route, headers={"host": host})
    assert answer.status_code in (400, 403)
    assert "reached" not in answer.text


def test_proxy_that_names_host_that_is_not_allowed_is_refused():
    assert client().get("/", headers={"x-forwarded-host": "evil.example"}).status_code == 403


def test_allowed_host_is_let_through():
    answer = client(allowed=("pod.example",), base="http://pod.example").get("/")
    assert answer.status_code == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:9999", "https://127.0.0.1:7860.evil.example"])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
def test_another_origin_reaches_nothing(origin, method):
    answer = client().request(method, "/gradio_api/queue/join", headers={"origin": origin})
    assert answer.status_code == 403


def test_pages_own_origin_is_let_through():
    assert client().post("/gradio_api/queue/join", headers={"origin": "http://127.0.0.1:7860"}).status_code == 200


@pytest.mark.parametrize(
    ("body", "code", "word"),
    [
        ({"data": [{"path": "/etc/passwd"}]}, 400, "Files"),
        ({"data": [[{"a": {"meta": {"_type": "gradio.FileData"}, "url": "http://evil.example"}}]]}, 400, "Files"),
        ({"data": "x" * MAX_MESSAGE_BYTES}, 413, "large"),
        ({"data": ["plain", 1, None]}, 200, "reached"),
    ],
)
def test_no_message_makes_gradio_read_file_or_fetch_address(body, code, word):
    answer = client().post("/gradio_api/queue/join", json=body)
    assert (answer.status_code, word in answer.text) == (code, True)


@pytest.mark.parametrize(("body", "code"), [(b"{", 400), (b"[" * 100_000, 400), (b"\xff", 400), (b"", 200)])
def test_message_that_is_not_json_is_refused(body, code):
    assert client().post("/gradio_api/queue/join", content=body).status_code == code


def test_cross_site_image_tag_reaches_nothing_but_link_opens_page():
    embedded = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"}
    clicked = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    assert client().get("/fluxgym/runs/x/samples/x.png", headers=embedded).status_code == 403
    assert client().get("/", headers=clicked).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd", "/gradio_api/file/etc/passwd", "/gradio_api/upload", "/gradio_api/proxy=http://evil.example",
        "/gradio_api/runs", "/monitoring", "/monitoring/summary", "/docs", "/openapi.json", "/gradio_api/stream/x", "/gradio_api/vibe-edit",
        "/file=app.py", "/fluxgym", "/gradio_api/deep_link", "/gradio_api/process_recording", "/custom_component/x",
    ],
)  # fmt: skip
def test_unused_routes_are_not_served(path):
    assert not is_known_route(path)
    assert client().get(path).status_code == 404


@pytest.mark.parametrize("route", ROUTES)
def test_no_route_answers_without_token(route):
    answer = client(TOKEN).get(route)
    assert answer.status_code == 401
    assert "reached" not in answer.text


def test_script_is_accepted_with_bearer_token():
    assert client(TOKEN).get("/config", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
    assert client(TOKEN).get("/config", headers={"authorization": "Bearer wrong"}).status_code == 401


def test_browser_that_gives_token_is_known_by_strict_cookie():
    browser = client(TOKEN)
    form = browser.get("/", headers={"accept": "text/html"})
    assert form.status_code == 401
    assert 'type="password"' in form.text
    welcome = browser.post("/login", data={"token": TOKEN}, headers={"accept": "text/html"})
    cookie = welcome.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert TOKEN not in cookie
    assert browser.get("/config").status_code == 200


def test_token_in_address_is_exchanged_for_cookie_and_kept_by_no_address_or_referer():
    browser = client(TOKEN)
    welcome = browser.get(f"/?token={TOKEN.replace(' ', '%20')}&run=my-cat", headers={"accept": "text/html"})
    assert 'href="/?run=my-cat"' in welcome.text
    assert welcome.headers["referrer-policy"] == "strict-origin"
    assert welcome.headers["cache-control"] == "no-store"
    assert browser.get("/").status_code == 200


@pytest.mark.parametrize("token", [None, TOKEN])
def test_token_in_address_is_taken_off_where_none_is_needed(token):
    browser = client(token)
    browser.post("/login", data={"token": TOKEN})
    answer = browser.get("/?token=a%20long%20secret&run=a%26b", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/?run=a%26b")
    assert browser.get("/?run=x", follow_redirects=False).status_code == 200


def test_wrong_token_leaves_address_bar():
    page = client(TOKEN).get("/?token=wrong", headers={"accept": "text/html"})
    assert page.status_code == 401
    assert "history.replaceState" in page.text
    assert page.headers["referrer-policy"] == "strict-origin"


@pytest.mark.parametrize("path", ["/config?token=a long secret", "/fluxgym/api/sessions?token=a long secret"])
def test_token_is_accepted_in_query_of_page_address_only(path):
    assert client(TOKEN).get(path).status_code == 401


def test_wrong_tokens_throttle_their_client_but_never_valid_token():
    browser, headers = client(TOKEN), {"x-forwarded-for": "192.0.2.1, 192.0.2.7"}
    for _ in range(TRIES):
        assert browser.post("/login", data={"token": "guess"}, headers=headers).status_code == 401
    for answer in (
        browser.post("/login", data={"token": "guess"}, headers=headers), browser.get("/?token=guess", headers=headers),
        browser.get("/config", headers=headers | {"authorization": "Bearer guess"}),
    ):  # fmt: skip
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) > 0
    assert browser.post("/login", data={"token": "typo"}, headers={"x-forwarded-for": "192.0.2.8"}).status_code == 401  # another visitor
    assert browser.get("/config", headers=headers | {"authorization": f"Bearer {TOKEN}"}).status_code == 200
    assert browser.post("/login", data={"token": TOKEN}, headers=headers).status_code == 200


def test_throttled_browser_gets_form_with_reason():
    browser, html = client(TOKEN), {"accept": "text/html"}
    for _ in range(TRIES):
        browser.post("/login", data={"token": "guess"}, headers=html)
    answer = browser.post("/login", data={"token": "guess"}, headers=html)
    assert (answer.status_code, 'type="password"' in answer.text, "Too many wrong tokens" in answer.text) == (429, True, True)


def test_login_form_without_end_is_not_read_to_its_end():
    assert client(TOKEN).post("/login", content=b"token=" + b"x" * 100_000).status_code == 401


def test_page_may_request_no_other_host():
    policy = client().get("/").headers["content-security-policy"]
    assert "connect-src 'self'" in policy
    assert "http" not in policy


def test_proxys_prefix_is_taken_off():
    assert client(root_path="/gym").get("/gym/config").text == "reached /config"
    assert client(root_path="/gym").get("/config").text == "reached /config"
    assert client(root_path="/gym").get("/gymnastics/config").status_code == 404


def test_no_client_can_set_gradio_address():
    async def reply(request: Request) -> PlainTextResponse:
        return PlainTextResponse(",".join(request.headers))

    app = Starlette(routes=[Route("/", reply)])
    guard = Guard(app, token_auth=TokenAuth(None, 7860), allowed_hosts=(), beyond_loopback=False)
    answer = TestClient(guard, base_url=BASE_URL, client=LOCAL).get("/", headers={"X-Gradio-Server": "http://evil.example"})
    assert "x-gradio-server" not in answer.text
    assert "host" in answer.text

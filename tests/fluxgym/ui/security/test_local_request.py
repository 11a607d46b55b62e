"""Without a token, only requests of this machine without a proxy's headers are accepted."""

import pytest
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from fluxgym.ui.security.guard import Guard
from fluxgym.ui.security.local_request import client_network
from fluxgym.ui.security.token_auth import TokenAuth
from tests.support.api import BASE_URL, LOCAL
from tests.support.matrix import is_full_matrix
from tests.support.routes import all_routes

SIGNS = {
    "forwarded": "for=192.0.2.1", "via": "1.1 proxy", "x-forwarded-for": "192.0.2.1", "x-forwarded-proto": "https", "x-forwarded-host": "127.0.0.1",
    "x-forwarded-port": "443", "x-forwarded-server": "pod", "x-real-ip": "127.0.0.1", "cf-ray": "1", "cf-connecting-ip": "192.0.2.1",
    "true-client-ip": "192.0.2.1", "x-original-host": "pod.example", "x-amzn-trace-id": "1", "x-envoy-external-address": "192.0.2.1",
    "referer": "https://pod.example/",
}  # fmt: skip
FEW_PATHS = ("/", "/config", "/fluxgym/api/sessions", "/gradio_api/info", "/docs")
PATHS = sorted({path for _, path in all_routes()}) if is_full_matrix() else FEW_PATHS


def client(token: str | None = None, *, http_version: str = "1.1", address: tuple[str, int] = LOCAL, root_path: str = "") -> TestClient:
    async def app(scope, receive, send):
        await PlainTextResponse("reached")(scope, receive, send)

    guard = Guard(app, token_auth=TokenAuth(token, 7860), allowed_hosts=(), beyond_loopback=False, root_path=root_path)

    async def as_version(scope, receive, send):
        await guard({**scope, "http_version": http_version}, receive, send)

    return TestClient(as_version, base_url=BASE_URL, client=address, follow_redirects=False)


def test_browser_on_this_machine_needs_no_token():
    for address in (LOCAL, ("::1", 1), ("::ffff:127.0.0.1", 1), ("127.9.9.9", 1)):
        assert client(address=address).get("/").text == "reached"
    own = {"origin": BASE_URL, "referer": f"{BASE_URL}/#/runs", "sec-fetch-site": "same-origin"}
    assert client().post("/gradio_api/queue/join", json={}, headers=own).text == "reached"


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", SIGNS)
def test_request_with_sign_of_proxy_needs_token(path, name):
    answer = client().get(path, headers={name: SIGNS[name]})
    assert answer.status_code == 403
    assert "FLUXGYM_TOKEN" in answer.text
    assert "--allow-host" in answer.text
    assert "reached" not in answer.text


@pytest.mark.parametrize(
    ("version", "address"), [("1.0", LOCAL), ("1.1", ("192.0.2.1", 1)), ("1.1", ("10.0.0.1", 1)), ("1.1", ("fd00::1", 1))]
)
def test_http_1_0_and_other_addresses_need_token(version, address):
    answer = client(http_version=version, address=address).get("/")
    assert (answer.status_code, "FLUXGYM_TOKEN" in answer.text) == (403, True)


@pytest.mark.parametrize("referer", ["https://pod.example/x", "http://127.0.0.1:8888/lab", "about:blank", "http://[", "x"])
def test_referer_of_another_host_needs_token(referer):
    answer = client().get("/fluxgym/api/sessions", headers={"referer": referer})
    assert answer.status_code == 403
    assert "Referer" in answer.json()["error"]["message"]


def test_link_on_another_site_opens_page_from_this_host():
    clicked = {"referer": "https://guide.example/", "accept": "text/html", "sec-fetch-site": "cross-site"} | {
        "sec-fetch-mode": "navigate", "sec-fetch-dest": "document",
    }  # fmt: skip
    answer = client(root_path="/gym").get("/gym/", headers=clicked)
    assert answer.status_code == 403
    assert 'href="/gym/"' in answer.text
    assert "location.replace" in answer.text
    assert client().get("/", headers=clicked | {"referer": f"{BASE_URL}/"}).text == "reached"


def test_proxied_request_with_token_is_accepted():
    for name, value in SIGNS.items():
        answer = client("secret").get("/config", headers={name: value, "authorization": "Bearer secret"})
        assert answer.text == "reached", name
    assert client("secret", http_version="1.0", address=("192.0.2.1", 1)).get("/config").status_code == 401


def test_client_is_ipv4_address_or_ipv6_network():
    assert client_network("192.0.2.1") == client_network("::ffff:192.0.2.1") == "192.0.2.1"
    assert client_network("2001:db8:1:2:3::4") == client_network("2001:db8:1:2:ffff::1")
    assert client_network("2001:db8:1:2::1") != client_network("2001:db8:1:3::1")
    assert client_network("fe80::1%eth0") == "fe80::/64"
    assert client_network("not an address") == "not an address"

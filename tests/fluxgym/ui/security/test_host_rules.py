"""The error messages about a Host or Origin that is not allowed, through a proxy that behaves as nginx does."""

import pytest
from starlette.responses import PlainTextResponse

from fluxgym.ui.security.guard import Guard
from fluxgym.ui.security.token_auth import TokenAuth
from tests.support.nginx_like import Behavior, nginx_like
from tests.support.served import Answer, exchange, get, served

TOKEN = "a-long-secret"
OUTER = {"host": "pod.example", "origin": "https://pod.example", "referer": "https://pod.example/", "accept": "text/html"}


async def app(scope, receive, send):
    """Answer any request that the guard lets pass."""
    await PlainTextResponse("reached")(scope, receive, send)


def guard(token: str | None, *allowed: str) -> Guard:
    return Guard(app, token_auth=TokenAuth(token, 1), allowed_hosts=allowed, beyond_loopback=False)


def log_in(port: int, **headers: str) -> Answer:
    """Send the login form as a browser does that shows https://pod.example."""
    body = f"token={TOKEN}"
    lines = ["POST /login HTTP/1.1", *(f"{name}: {value}" for name, value in (OUTER | headers).items())]
    lines += ["content-type: application/x-www-form-urlencoded", f"content-length: {len(body)}", "", body]
    return exchange(port, "\r\n".join(lines).encode())


@pytest.mark.parametrize(
    "behavior",
    [
        Behavior(), Behavior(passes_host=True), Behavior(http_version="1.1", headers={"X-Forwarded-For": "192.0.2.1"}),
        Behavior(headers={"Host": "127.0.0.1"}),
    ],
    ids=["default", "passes Host", "HTTP/1.1 and X-Forwarded-For", "two Hosts"],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/", "/config", "/fluxgym/api/sessions"])
def test_proxied_request_without_token_is_refused(behavior, path):
    with served(guard(None)) as own, nginx_like(own, behavior) as port:
        for headers in ({}, OUTER):
            answer = get(port, path, **headers)
            assert answer.status in (400, 403)
            assert "reached" not in answer.text
        assert get(own, path).text == "reached"


def test_proxy_that_replaces_host_ends_with_message_that_helps():
    with served(guard(TOKEN)) as own, nginx_like(own) as port:
        answer = log_in(port)
        assert answer.status == 403
        assert f"the browser shows pod.example, but the Host header is 127.0.0.1:{own}" in answer.text
        assert "proxy_set_header Host $http_host;" in answer.text
        assert "--allow-host pod.example" in answer.text
    with served(guard(TOKEN, "pod.example")) as own, nginx_like(own) as port:
        assert "--allow-host" not in log_in(port).text  # it was given already


@pytest.mark.parametrize(
    "behavior", [Behavior(passes_host=True), Behavior(headers={"X-Forwarded-Host": "pod.example"})], ids=["Host", "X-Forwarded-Host"]
)
def test_proxy_that_names_outer_host_logs_in(behavior):
    with served(guard(TOKEN, "pod.example")) as own, nginx_like(own, behavior) as port:
        answer = log_in(port)
        assert answer.status == 200
        assert "set-cookie" in answer.head.lower()


@pytest.mark.parametrize(
    "origin", ["null", "http://[", "ftp://pod.example", "https://a b", "file://", "https://x/path", "javascript:alert(1)"]
)
def test_origin_that_names_no_host_is_refused_without_advice(origin):
    with served(guard(TOKEN)) as own:
        answer = log_in(own, host="127.0.0.1", origin=origin)
        assert answer.status == 403
        assert "--allow-host a" not in answer.text

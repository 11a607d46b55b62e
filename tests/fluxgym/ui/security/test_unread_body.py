"""An early answer arrives, although the client still sends: through a proxy that sends the whole body first, and directly."""

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse

from fluxgym.ui.security import unread_body
from fluxgym.ui.security.guard import Guard
from fluxgym.ui.security.token_auth import TokenAuth
from tests.support.nginx_like import Behavior, nginx_like
from tests.support.served import Answer, connect, exchange, get, put_request_head, read_answer, served

SIZE = 12 << 20
PROXY = Behavior(passes_host=True, max_body=64 << 20)
PATH = "/fluxgym/import/x.zip"


async def refusing(scope, receive, send):
    """Answer 413 at once, as the routes of uploads do after a look at Content-Length."""
    await PlainTextResponse("x.zip is too large.", 413)(scope, receive, send)


async def reading(scope, receive, send):
    """Answer with the number of bytes that arrived."""
    await PlainTextResponse(str(len(await Request(scope, receive).body())))(scope, receive, send)


def guard(app, token="secret"):
    return Guard(app, token_auth=TokenAuth(token, 1), allowed_hosts=(), beyond_loopback=False)


def put(port: int, *, size: int = SIZE, token: str = "secret") -> Answer:
    """Upload size bytes; read the answer after all of them were sent."""
    head = put_request_head(port, PATH, size)[:-2] + f"authorization: Bearer {token}\r\n\r\n".encode()
    with connect(port) as connection:
        connection.sendall(head + bytes(size))
        return read_answer(connection)


@pytest.mark.parametrize("behavior", [PROXY, Behavior(passes_host=True, max_body=64 << 20, http_version="1.1")], ids=["1.0", "1.1"])
def test_early_refusal_of_upload_arrives_through_proxy(behavior):
    with served(guard(refusing)) as app, nginx_like(app, behavior) as port:
        assert put(port).text == "x.zip is too large."
        assert "too large" in exchange(port, put_request_head(port, PATH, 0)[:-2] + b"authorization: Bearer secret\r\n\r\n").text


def test_early_refusal_before_login_arrives_through_proxy():
    with served(guard(reading)) as app, nginx_like(app, PROXY) as port:
        answer = put(port, token="wrong")
        assert (answer.status, "token is required" in answer.text) == (401, True)


def test_body_that_is_read_is_not_touched():
    with served(guard(reading)) as app, nginx_like(app, PROXY) as port:
        assert put(port).text == str(SIZE)
        assert put(app).text == str(SIZE)


def test_client_that_waits_for_100_continue_gets_refusal_without_sending():
    head = put_request_head(1, PATH, SIZE)[:-2] + b"authorization: Bearer secret\r\nexpect: 100-continue\r\n\r\n"
    with served(guard(refusing)) as app, connect(app) as connection:
        connection.sendall(head)
        assert read_answer(connection).status == 413


def test_only_bounded_part_of_endless_body_is_discarded(monkeypatch):
    monkeypatch.setattr(unread_body, "BEFORE_LOGIN", unread_body.DiscardLimits(num_bytes=1 << 20, total_s=60, idle_s=60))
    with served(guard(reading)) as app, connect(app) as connection:
        connection.sendall(put_request_head(app, PATH, 1 << 40))
        sent = 0
        with pytest.raises(ConnectionError):
            while sent < 1 << 30:
                sent += connection.send(bytes(65536))
        assert sent < 64 << 20


def test_client_that_stops_sending_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(unread_body, "BEFORE_LOGIN", unread_body.DiscardLimits(num_bytes=1 << 20, total_s=60, idle_s=0.05))
    with served(guard(reading)) as app, connect(app) as connection:
        connection.sendall(put_request_head(app, PATH, 1 << 20) + b"x")
        assert read_answer(connection).status == 401
        assert connection.recv(1) == b""
        assert get(app).status == 401

"""Limits of connections, with real sockets: half-sent requests and idle clients never block a visitor."""

import asyncio
import logging
import threading
from dataclasses import replace

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse

from fluxgym.ui.security.connections import MAX_CONNECTIONS, ConnectionLimits
from fluxgym.ui.security.guard import Guard
from fluxgym.ui.security.token_auth import TokenAuth
from tests.support.runs import wait_for
from tests.support.served import connect, get, is_closed, put_request_head, read_answer, served

FEW = ConnectionLimits(total=12, per_client=8)
PATIENT = ConnectionLimits(total=64, per_client=32)
TOKEN = "secret"
BEARER = {"authorization": f"Bearer {TOKEN}"}
HELD: list[object] = []  # requests to /hold that the app has and does not answer
HALF_SENT = {
    "nothing": b"",
    "half of the headers": b"GET / HTTP/1.1\r\nhost: 127",
    "half of the login form": b"POST /login HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 100\r\n\r\ntoken=",
    "half of an upload": b"PUT /fluxgym/import/x.zip HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 100\r\n\r\nPK",
}


async def app(scope, receive, send):
    """Answer with what was sent; /hold waits until the client is gone."""
    request = Request(scope, receive)
    if scope["path"].endswith("hold"):
        HELD.append(scope)
        while (await receive())["type"] != "http.disconnect":
            pass
        HELD.remove(scope)
    await PlainTextResponse(str(len(await request.body())))(scope, receive, send)


@pytest.fixture
def guard():
    """Return the app behind the guard, which requires the token."""
    return Guard(app, token_auth=TokenAuth(TOKEN, 1), allowed_hosts=(), beyond_loopback=False)


def is_served(port: int) -> bool:
    """Return True if a visitor with the token and one without get their answers."""
    return get(port, "/config", **BEARER).status == 200 and get(port, "/").status == 401


@pytest.mark.parametrize("sent", HALF_SENT.values(), ids=HALF_SENT)
def test_half_sent_requests_of_same_address_keep_no_visitor_out(guard, sent):
    with served(guard, FEW) as port:
        attackers = []
        for _ in range(40):
            attackers.append(connect(port))
            attackers[-1].sendall(sent)
            assert is_served(port)
        assert all(is_closed(connection) for connection in attackers[:24])


def test_oldest_half_sent_request_gives_way_and_those_within_limit_stay(guard):
    with served(guard, FEW) as port:
        waiting = [connect(port) for _ in range(FEW.per_client + 1)]
        assert is_closed(waiting[0])
        for connection in waiting[1:]:
            connection.sendall(f"GET /config HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {TOKEN}\r\n\r\n".encode())
            assert read_answer(connection).status == 200


def test_requests_that_are_processed_are_never_closed_for_new_ones(guard):
    with served(guard, FEW) as port:
        busy = [connect(port) for _ in range(FEW.per_client)]
        for number, connection in enumerate(busy, start=1):
            connection.sendall(f"GET /fluxgym/hold HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {TOKEN}\r\n\r\n".encode())
            wait_for(lambda number=number: len(HELD) == number)
        with connect(port) as refused:
            answer = read_answer(refused)
        assert (answer.status, "Too many connections" in answer.text) == (503, True)
        busy.pop().close()
        wait_for(lambda: get(port, "/config", **BEARER).status == 200)
        for connection in busy:
            connection.close()
        wait_for(lambda: not HELD)


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nhost: 127", b"\r\n\r\n"], ids=["nothing", "half of the headers", "empty lines"])
def test_client_that_sends_no_headers_is_closed(guard, sent):
    with served(guard, replace(PATIENT, head_s=0.2)) as port, connect(port) as connection:
        connection.sendall(sent)
        assert is_closed(connection)


def test_headers_that_trickle_do_not_extend_their_time(guard):
    with served(guard, replace(PATIENT, head_s=0.5)) as port, connect(port) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\nx-slow: ")
        with pytest.raises(ConnectionError):
            while True:
                connection.sendall(b"x")
                connection.settimeout(0.05)
                try:
                    if connection.recv(1) == b"":
                        raise ConnectionResetError
                except TimeoutError:
                    connection.settimeout(30)


def test_body_that_stops_is_closed(guard):
    head = put_request_head(1, "/fluxgym/import/x.zip", 8)[:-2] + f"authorization: Bearer {TOKEN}\r\n\r\n".encode()
    with served(guard, replace(PATIENT, body_s=0.2)) as port, connect(port) as connection:
        connection.sendall(head + b"x")
        assert is_closed(connection)


def test_client_that_reads_nothing_is_closed():
    ended = threading.Event()

    async def endless(scope, receive, send):
        async def disconnect():
            while (await receive())["type"] != "http.disconnect":
                pass

        disconnected = asyncio.create_task(disconnect())
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while not disconnected.done():
            await send({"type": "http.response.body", "body": bytes(1 << 20), "more_body": True})
            await asyncio.sleep(0)
        ended.set()

    with served(endless, replace(PATIENT, write_s=0.2)) as port, connect(port) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
        assert ended.wait(30)


def test_many_connections_write_one_line(guard, caplog):
    with caplog.at_level(logging.WARNING), served(guard, FEW) as port:
        waiting = [connect(port) for _ in range(FEW.per_client + 5)]
        assert is_closed(waiting[0])
    lines = [record.getMessage() for record in caplog.records]
    assert lines
    assert all("from 127.0.0.1" in line and "\n" not in line for line in lines)
    assert not any(record.exc_info for record in caplog.records)


@pytest.mark.parametrize("max_files", [64, 256, 1024, 4096, 1 << 20])
def test_limits_leave_files_for_app(max_files):
    limits = ConnectionLimits.of_open_files(max_files)
    assert 8 <= limits.per_client < limits.total <= MAX_CONNECTIONS
    assert limits.total < max_files / 2


@pytest.mark.parametrize("max_files", [1024, 4096, 1 << 20])
def test_limit_per_client_admits_50_visitors_behind_one_proxy(max_files):
    assert ConnectionLimits.of_open_files(max_files).per_client >= 200


def test_upgrade_that_client_offers_is_ignored(guard, caplog):
    with caplog.at_level(logging.WARNING), served(guard) as port:
        assert get(port, "/config", connection="Upgrade, HTTP2-Settings", upgrade="h2c", **BEARER).status == 200
        assert get(port, "/config", connection="Upgrade", upgrade="websocket", **BEARER).status == 200
    assert caplog.records == []

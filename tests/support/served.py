"""An ASGI app on a real socket, and requests that are written byte by byte."""

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from starlette.types import ASGIApp

from fluxgym.ui.security.connections import ConnectionLimits
from fluxgym.ui.server import http_server
from tests.support.runs import wait_for

LIMITS = ConnectionLimits(total=64, per_client=32)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An HTTP answer; status 0 if the connection was closed or reset without one."""

    status: int = 0
    head: str = ""
    body: bytes = b""

    @property
    def text(self) -> str:
        """Return the body as text."""
        return self.body.decode("utf-8", "replace")


@contextmanager
def served(app: ASGIApp, limits: ConnectionLimits = LIMITS) -> Iterator[int]:
    """Serve an app on a free port of this machine and yield the port."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = http_server(app, limits)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        wait_for(lambda: server.started)
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        server.force_exit = True
        thread.join(30)


def connect(port: int) -> socket.socket:
    """Return a connection to a port of this machine."""
    return socket.create_connection(("127.0.0.1", port), timeout=30)


def read_answer(connection: socket.socket) -> Answer:
    """Read until the other side closes, or until the body is as long as its header says."""
    data = b""
    try:
        while not _is_whole(data) and (more := connection.recv(65536)):
            data += more
    except ConnectionError:
        pass
    head, _, body = data.partition(b"\r\n\r\n")
    found = re.match(rb"HTTP/1\.[01] (\d{3})", head)
    return Answer(status=int(found[1]), head=head.decode("latin-1"), body=body) if found else Answer()


def _is_whole(data: bytes) -> bool:
    head, separator, body = data.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    return bool(separator and length) and len(body) >= int(length[1])


def exchange(port: int, request: bytes) -> Answer:
    """Send the bytes of a request and return the answer."""
    with connect(port) as connection:
        connection.sendall(request)
        return read_answer(connection)


def get(port: int, path: str = "/", **headers: str) -> Answer:
    """Request a path as a local program does."""
    lines = {"host": f"127.0.0.1:{port}"} | {name.replace("_", "-"): value for name, value in headers.items()}
    text = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in lines.items()), "", ""]
    return exchange(port, "\r\n".join(text).encode())


def is_closed(connection: socket.socket) -> bool:
    """Return True once the other side has closed or reset the connection; what it sent before is dropped."""
    connection.settimeout(30)
    try:
        while connection.recv(65536):
            pass
    except ConnectionError:
        return True
    return True


def put_request_head(port: int, path: str, size: int) -> bytes:
    """Return the headers of an upload of size bytes."""
    return f"PUT {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-length: {size}\r\n\r\n".encode()

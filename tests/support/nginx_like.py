"""A proxy that behaves as nginx 1.22 does with `proxy_pass http://127.0.0.1:PORT;` and no other option.

It reads the whole body first, sends the request with HTTP/1.0, `Connection: close` and the upstream's name as Host, passes other headers on, and adds
none. A connection that the app resets before its answer was read is 502. `Behavior` changes this as the usual options of nginx do.
"""

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from select import select

DROPPED = ("connection", "keep-alive", "transfer-encoding", "host", "expect")
BAD_GATEWAY = b"HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n<html><h1>502 Bad Gateway</h1></html>"
TOO_LARGE = b"HTTP/1.1 413 Request Entity Too Large\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n<html><h1>413 Request Entity Too Large</h1></html>"


@dataclass(frozen=True, kw_only=True)
class Behavior:
    """Options of nginx: `proxy_set_header Host $http_host`, proxy_http_version, further proxy_set_header, client_max_body_size."""

    passes_host: bool = False
    http_version: str = "1.0"
    headers: dict[str, str] = field(default_factory=dict)
    max_body: int = 1 << 20


@contextmanager
def nginx_like(upstream: int, behavior: Behavior = Behavior()) -> Iterator[int]:
    """Run the proxy in front of a port of this machine and yield its own port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=_handle, args=(client, upstream, behavior), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def _handle(client: socket.socket, upstream: int, behavior: Behavior) -> None:
    with client:
        client.settimeout(60)
        head, body = _read_head(client)
        if head:
            size = int(match[1]) if (match := re.search(r"(?i)\r\ncontent-length: *(\d+)", head)) else 0
            while len(body) < size and (more := client.recv(65536)):
                body += more
            client.sendall(TOO_LARGE if size > behavior.max_body else _ask(head, body, upstream, behavior))


def _read_head(client: socket.socket) -> tuple[str, bytes]:
    data = b""
    while b"\r\n\r\n" not in data:
        if not (more := client.recv(65536)):
            return "", b""
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    return head.decode("latin-1"), body


def _ask(head: str, body: bytes, upstream: int, behavior: Behavior) -> bytes:
    """Return the app's answer, 502 if the connection broke before all of the request was sent and the answer was read."""
    request, answer = _request(head, upstream, behavior) + body, b""
    with socket.create_connection(("127.0.0.1", upstream)) as app:
        app.setblocking(False)
        try:
            while True:
                readable, writable, _ = select([app], [app] if request else [], [], 60)
                if writable:
                    request = request[app.send(request[:16384]) :]
                if readable:
                    if not (more := app.recv(65536)):
                        return answer or BAD_GATEWAY
                    answer += more
        except OSError:
            return BAD_GATEWAY


def _request(head: str, upstream: int, behavior: Behavior) -> bytes:
    line, *lines = head.split("\r\n")
    pairs = [(name, value.strip()) for name, _, value in (text.partition(":") for text in lines)]
    host = next(value for name, value in pairs if name.lower() == "host") if behavior.passes_host else f"127.0.0.1:{upstream}"
    kept = [(name, value) for name, value in pairs if name.lower() not in DROPPED]
    method, path, _ = line.split(" ")
    all_headers = [("Host", host), ("Connection", "close"), *behavior.headers.items(), *kept]
    lines = [f"{method} {path} HTTP/{behavior.http_version}", *(f"{name}: {value}" for name, value in all_headers), "", ""]
    return "\r\n".join(lines).encode("latin-1")

"""Limits of connections, for clients that have not given a token: how many, in all and per client, and the time without data after which one is closed.

Where a limit is reached, the oldest connection whose request the guard has not let pass gives way to the new one, so that half-sent
requests never block a visitor, not even one with the same address, as behind a proxy.
"""

import asyncio
import logging
from collections import Counter
from dataclasses import dataclass
from typing import Any, Self

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from fluxgym.ui.security.guard import ADMITTED
from fluxgym.ui.security.local_request import client_network

logger = logging.getLogger(__name__)
BACKLOG = 64  # connections that are accepted at once, before the limits act
OWN_FILES = 128  # files that the app itself opens at a time
MAX_CONNECTIONS = 1000
MIN_CONNECTIONS = 16
BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\nRetry-After: 5\r\nConnection: close\r\n\r\n"
    b"Too many connections are open; try again in a few seconds.\n"
)


@dataclass(frozen=True, kw_only=True)
class ConnectionLimits:
    """The number of connections in all and per client, and seconds without progress after which a connection is closed."""

    total: int
    per_client: int
    head_s: float = 10.0  # from the first byte to the end of a request's headers
    body_s: float = 75.0  # without data of the body while the app waits for it; uploads.py refuses an upload after 60 s
    write_s: float = 300.0  # in which the client reads nothing of the answer

    @classmethod
    def of_open_files(cls, max_files: int) -> Self:
        """Return the limits for a process that may open max_files files; each connection may need a second one for an upload or a download."""
        total = max(MIN_CONNECTIONS, min(MAX_CONNECTIONS, (max_files - OWN_FILES) // 2))
        return cls(total=total, per_client=max(MIN_CONNECTIONS // 2, total // 2))


class ConnectionTable:
    """The open connections, oldest first."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self.limits = limits
        self._open: dict[LimitedConnection, None] = {}
        self._per_client: Counter[str] = Counter()

    def add(self, new: "LimitedConnection") -> None:
        """Add a connection, and close one if there are too many: the oldest that has not got past the guard, else the new one."""
        self._open[new] = None
        self._per_client[new.client_key] += 1
        if self._per_client[new.client_key] > self.limits.per_client:
            self._close_one(new, new.client_key)
        elif len(self._open) > self.limits.total:
            self._close_one(new, max(self._per_client, key=lambda client: self._per_client[client]))

    def remove(self, connection: "LimitedConnection") -> None:
        """Remove a connection; does nothing if it was removed already."""
        if connection in self._open:
            del self._open[connection]
            self._per_client[connection.client_key] -= 1
            if not self._per_client[connection.client_key]:
                del self._per_client[connection.client_key]

    def _close_one(self, new: "LimitedConnection", client: str) -> None:
        waiting = (one for one in self._open if one.client_key == client and one is not new and not one.is_admitted)
        oldest = next(waiting, None)
        logger.warning(
            "Too many connections, up to %d from %s: the oldest without a complete request is closed.", self._per_client[client], client
        )
        self.remove(oldest or new)
        if oldest is not None:
            oldest.drop()
        else:
            new.reject()


class LimitedConfig(uvicorn.Config):
    """uvicorn's configuration with the table of its connections."""

    def __init__(self, app: Any, *, table: ConnectionTable, **options: Any) -> None:
        super().__init__(app, http=LimitedConnection, backlog=BACKLOG, **options)
        self.table = table


class LimitedConnection(H11Protocol):
    """uvicorn's HTTP protocol with the limits of a ConnectionTable."""

    def __init__(self, config: LimitedConfig, *args: Any, **options: Any) -> None:
        super().__init__(config, *args, **options)
        self._table = config.table
        self._read_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._is_reading_body = False
        self._is_dropped = False
        self.client_key = ""

    @property
    def is_admitted(self) -> bool:
        """Return True while a request is processed that the guard let pass."""
        return self.cycle is not None and not self.cycle.response_complete and bool(self.cycle.scope.get(ADMITTED))

    def drop(self) -> None:
        """Close the connection at once; what was not sent yet is lost."""
        self._is_dropped = True
        self.transport.abort()

    def reject(self) -> None:
        """Answer that there are too many connections, and close."""
        self._is_dropped = True
        self.transport.write(BUSY)
        self.transport.close()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count the connection and wait for the first request."""
        super().connection_made(transport)
        self.client_key = client_network(self.client[0]) if self.client else ""
        self._watch_read()
        self._table.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._table.remove(self)
        for timer in (self._read_timer, self._write_timer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Pass data on, unless the connection was closed for its limit."""
        if self._is_dropped:
            return
        super().data_received(data)
        self._watch_read()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        self._watch_read()

    def _watch_read(self) -> None:
        """Start, keep or stop the timer for what the client has to send: the headers in all, the body from one piece to the next."""
        state = self.conn.their_state
        if state is h11.IDLE and self._read_timer is not None and not self._is_reading_body:
            return
        if self._read_timer is not None:
            self._read_timer.cancel()
        self._is_reading_body = state is h11.SEND_BODY
        seconds = {h11.IDLE: self._table.limits.head_s, h11.SEND_BODY: self._table.limits.body_s}.get(state)
        self._read_timer = None if seconds is None else self.loop.call_later(seconds, self._end_reading)

    def _end_reading(self) -> None:
        self._read_timer = None
        if self._is_reading_body and self.flow.read_paused:  # the app has not requested more
            self._watch_read()
        elif not self.transport.is_closing():
            self.transport.close()

    def pause_writing(self) -> None:
        """Give the client time to read what was sent."""
        super().pause_writing()
        if self._write_timer is None:
            self._write_timer = self.loop.call_later(self._table.limits.write_s, self.transport.abort)

    def resume_writing(self) -> None:
        """Stop the time: the client has read."""
        super().resume_writing()
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def _unsupported_upgrade_warning(self) -> None:
        """Log nothing: an upgrade to WebSocket or HTTP/2 that a client offers is ignored."""

"""The rest of a request's body that the app did not read because the answer was clear before: it is received and discarded before the answer ends.

A connection that is closed with data that was not read is reset, and with it the answer is lost. Programs that send the whole body before they
read, as proxies do, would report a broken connection instead of the reason, such as a file that is too large.
"""

import asyncio
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import Message, Receive, Scope, Send


@dataclass(frozen=True, kw_only=True)
class DiscardLimits:
    """How much is discarded at most: bytes, seconds in all, and seconds without data."""

    num_bytes: int
    total_s: float
    idle_s: float


BEFORE_LOGIN = DiscardLimits(num_bytes=16 << 20, total_s=10.0, idle_s=5.0)
AFTER_LOGIN = DiscardLimits(num_bytes=1 << 30, total_s=300.0, idle_s=10.0)


class UnreadBody:
    """Wraps receive and send of one request; `limits` can be changed until the answer ends."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        self._receive, self._send = receive, send
        self._is_complete = headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers
        self._is_announced = headers.get("expect", "").lower() == "100-continue"  # the client sends nothing before it is requested
        self._is_started = self._is_ended = False
        self.limits = BEFORE_LOGIN

    async def receive(self) -> Message:
        """Return the next message of the request."""
        self._is_announced = False
        message = await self._receive()
        if message["type"] != "http.request" or not message.get("more_body", False):
            self._is_complete = True
        return message

    async def send(self, message: Message) -> None:
        """Send a message of the answer; before the last one, discard what is left of the body."""
        has_rest = not self._is_complete and not self._is_announced
        self._is_started = True
        self._is_ended = message["type"] == "http.response.body" and not message.get("more_body", False)
        if message["type"] == "http.response.start" and not self._is_complete:
            MutableHeaders(scope=message)["Connection"] = "close"
        if not self._is_ended or not has_rest:
            await self._send(message)
            return
        await self._send({**message, "more_body": True})
        await self._discard()
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def end(self) -> None:
        """End an answer that was started, if it has not ended."""
        if self._is_started and not self._is_ended:
            await self.send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _discard(self) -> None:
        left = self.limits.num_bytes
        try:
            async with asyncio.timeout(self.limits.total_s):
                while not self._is_complete and left > 0:
                    message = await asyncio.wait_for(self.receive(), self.limits.idle_s)
                    left -= len(message.get("body", b""))
        except TimeoutError:
            return

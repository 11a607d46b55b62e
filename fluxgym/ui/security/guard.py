"""ASGI middleware in front of every route, Gradio's own included: checks Host, Origin and token, and adds the security headers.

It wraps the whole application, so no mounted route (API docs, event streams, uploads, static files) bypasses it.
"""

import logging
from urllib.parse import unquote

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fluxgym.contract.limits import MAX_NAME_BYTES
from fluxgym.ui.security.host_rules import HostRules
from fluxgym.ui.security.local_request import refuse_unless_local
from fluxgym.ui.security.login import Login
from fluxgym.ui.security.refusals import refuse
from fluxgym.ui.security.request_body import check_body
from fluxgym.ui.security.token_auth import TokenAuth
from fluxgym.ui.security.unread_body import AFTER_LOGIN, UnreadBody

logger = logging.getLogger(__name__)
ADMITTED = "fluxgym.admitted"  # key of the ASGI scope: the guard sets it when it lets a request pass, and connections.py reads it
# The routes of Gradio that its page and its typed API need. All others (files, uploads, proxies, recorded runs, monitoring) give 404.
GRADIO_API = (
    "info", "openapi.json", "queue/", "call/", "run/", "api/", "component_server", "heartbeat/", "app_id", "startup-events",
    "theme.css", "cancel", "reset", "login_check",
)  # fmt: skip
GRADIO = ("/assets/", "/static/", "/theme.css", "/config", "/favicon.ico", "/robots.txt", "/manifest.json", "/pwa_icon")
PAGE_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; "
    "frame-ancestors 'self'"
)
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
NOTHING_HERE = "There is nothing at this address."


def is_known_route(path: str) -> bool:
    """Return True for the page, FluxGym's own routes and the routes of Gradio that the page needs."""
    if path in ("/", "/login") or path.startswith("/fluxgym/"):
        return True
    if any(len(part.encode("utf-8", "replace")) > MAX_NAME_BYTES for part in path.split("/")):
        return False  # longer than a file's name can be, which Gradio's routes do not check
    if path.startswith("/gradio_api/"):
        rest = path.removeprefix("/gradio_api/")
        return any(rest == name.rstrip("/") or rest.startswith(name.rstrip("/") + "/") for name in GRADIO_API)
    return any(path == name or path.startswith(name.rstrip("/") + "/") for name in GRADIO)


class Guard:
    """Pass a request to the app only if its Host, Origin, route and token are allowed."""

    def __init__(
        self, app: ASGIApp, *, token_auth: TokenAuth, allowed_hosts: tuple[str, ...], beyond_loopback: bool, root_path: str = ""
    ) -> None:
        self.app = app
        self.allowed_hosts = allowed_hosts
        self.beyond_loopback = beyond_loopback
        self.root_path = root_path.rstrip("/")
        self._hosts = HostRules(allowed=allowed_hosts, beyond_loopback=beyond_loopback)
        self._login = Login(token_auth, self.root_path)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            await self._http_quietly(scope, UnreadBody(scope, receive, send))
        elif scope["type"] == "websocket":  # not used
            await receive()
            await send({"type": "websocket.close", "code": 1008})

    async def _http_quietly(self, scope: Scope, body: UnreadBody) -> None:
        """Answer a request; one that its client or Gradio breaks off while it is answered is one line in the log, not a traceback."""
        try:
            await self._http(scope, body)
        except ClientDisconnect:
            logger.info("%s %s: the client closed the connection", scope["method"], scope["path"])
        except RuntimeError as error:
            if not isinstance(error.__cause__, HTTPException):
                raise
            logger.info("%s %s: the stream ended: %s", scope["method"], scope["path"], error.__cause__.detail)
            await body.end()

    def _without_root(self, scope: Scope) -> Scope:
        """Remove root_path from the path if the proxy did not."""
        path: str = scope["path"]
        prefix = unquote(self.root_path)  # a path of the scope is decoded
        if prefix and (path + "/").startswith(prefix + "/"):
            return {**scope, "path": path[len(prefix) :] or "/", "raw_path": None}
        return scope

    async def _http(self, connection: Scope, body: UnreadBody) -> None:
        scope = self._without_root(connection)
        receive: Receive = body.receive
        refusal = await self._refuse(scope, receive)
        if refusal is None:
            connection[ADMITTED] = True
            body.limits = AFTER_LOGIN
            receive, refusal = await check_body(scope, receive)
        if refusal is not None:
            await refusal(scope, receive, _with_headers(body.send))
        else:
            await self.app(_without_server_name(scope), receive, _with_headers(body.send, page=scope["path"] == "/"))

    async def _refuse(self, scope: Scope, receive: Receive) -> Response | None:
        """Return None for a request that may reach the app, else what is sent instead."""
        headers, request = Headers(scope=scope), Request(scope, receive)
        refusal = self._hosts.refuse(scope, headers)
        if refusal is None and not self._login.is_required:
            refusal = refuse_unless_local(scope, headers, self.root_path) or self._login.without_token(request)
        if refusal is None and not is_known_route(scope["path"]):
            refusal = refuse(scope, NOTHING_HERE, 404)
        if refusal is None and self._login.is_required:
            refusal = await self._login.refuse(request)
        return refusal


def _without_server_name(scope: Scope) -> Scope:
    """Remove the header with which a client could set the address of Gradio's links."""
    return {**scope, "headers": [(name, value) for name, value in scope["headers"] if name.lower() != b"x-gradio-server"]}


def _with_headers(send: Send, *, page: bool = False) -> Send:
    """Add the security headers of every response; page adds the policy that allows requests to this origin only."""

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in SECURITY_HEADERS.items():
                headers.setdefault(name, value)
            for name in ("access-control-allow-origin", "access-control-allow-credentials"):
                if name in headers:
                    del headers[name]
            if page and "content-security-policy" not in headers:
                headers["Content-Security-Policy"] = PAGE_POLICY
                headers["Cache-Control"] = "no-store"
        await send(message)

    return send_with_headers

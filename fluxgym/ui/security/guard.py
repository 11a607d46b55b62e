"""The guard in front of every route, Gradio's own included: Host, Origin, token, and the headers every answer carries.

It stands outside the framework as plain ASGI, so nothing that is mounted behind it (API docs, event streams, uploads, static files)
can forget to ask. What a token is and how it is compared belongs to login.py; names of hosts to hosts.py.
"""

import json
import secrets
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fluxgym.ui.security import hosts, token_auth

# What Gradio's page and its typed API need of Gradio. Everything else that Gradio could serve (files, uploads, proxies, recorded
# runs, monitoring) has no use here and is not reachable.
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
MAX_FORM_BYTES = 8192
MAX_MESSAGE_BYTES = 4 << 20


def is_known_route(path: str) -> bool:
    """Return True if a path is the page, one of ours, or one of the few that Gradio's page needs."""
    if path in ("/", "/login") or path.startswith("/fluxgym/"):
        return True
    if path.startswith("/gradio_api/"):
        rest = path.removeprefix("/gradio_api/")
        return any(rest == name.rstrip("/") or rest.startswith(name.rstrip("/") + "/") for name in GRADIO_API)
    return any(path == name or path.startswith(name.rstrip("/") + "/") for name in GRADIO)


class Guard:
    """Let a request through to the app when its host, its origin, its route and its token are right."""

    def __init__(
        self, app: ASGIApp, *, door: token_auth.TokenAuth, allowed_hosts: tuple[str, ...], beyond_loopback: bool, root_path: str = ""
    ) -> None:
        self.app = app
        self.door = door
        self.allowed_hosts = allowed_hosts
        self.beyond_loopback = beyond_loopback
        self.root_path = root_path.rstrip("/")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(self._without_root(scope), receive, send)
        elif scope["type"] == "websocket":  # nothing here uses one
            await receive()
            await send({"type": "websocket.close", "code": 1008})

    def _without_root(self, scope: Scope) -> Scope:
        """Drop the proxy's prefix from the path if the proxy left it there."""
        path: str = scope["path"]
        if self.root_path and (path + "/").startswith(self.root_path + "/"):
            return {**scope, "path": path[len(self.root_path) :] or "/", "raw_path": None}
        return scope

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        refusal = self._refuse_host(headers, scope) or self._refuse_origin(headers, scope)
        if refusal is None and not is_known_route(scope["path"]):
            refusal = PlainTextResponse("There is nothing at this address.", 404)
        if refusal is None and self.door.asks:
            refusal = await self._ask_for_token(Request(scope, receive), headers)
        if refusal is None and scope["method"] == "POST" and scope["path"].startswith("/gradio_api/"):
            receive, refusal = await self._look_into(receive)
        if refusal is not None:
            await refusal(scope, receive, _with_headers(send))
        else:
            await self.app(_without_server_name(scope), receive, _with_headers(send, page=scope["path"] == "/"))

    async def _look_into(self, receive: Receive) -> tuple[Receive, Response | None]:
        """Read a message to Gradio whole; refuse one that names files, which Gradio would read or fetch for whoever asks."""
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False) and message["type"] == "http.request"
            if len(body) > MAX_MESSAGE_BYTES:
                return receive, PlainTextResponse("The message is too large.", 413)
        try:
            if _names_files(json.loads(body or b"null")):
                return receive, PlainTextResponse("Files are not taken here.", 400)
        except (ValueError, RecursionError):
            return receive, PlainTextResponse("The message is not JSON.", 400)
        return _replay(body, receive), None

    def _refuse_host(self, headers: Headers, scope: Scope) -> Response | None:
        """Refuse a Host, or a proxy's X-Forwarded-Host, that is not ours."""
        own = str(scope["server"][0]) if self.beyond_loopback and scope.get("server") else None
        named = headers.getlist("host")
        forwarded = [part.strip() for value in headers.getlist("x-forwarded-host") for part in value.split(",")]
        if len(named) != 1:
            return PlainTextResponse("The request names no host, or several.", 400)
        for value in (*named, *forwarded):
            host = hosts.split_host(value)
            if host is None:
                return PlainTextResponse("The request's host is not a host name.", 400)
            if not hosts.is_allowed(host[0], self.allowed_hosts, own):
                return PlainTextResponse(f"FluxGym does not answer to this host; start it with --allow-host {host[0]} if it is yours.", 403)
        return None

    def _refuse_origin(self, headers: Headers, scope: Scope) -> Response | None:
        """Refuse what another site's page sends: its Origin is not our host, or the browser says that it is cross-site."""
        own = [*headers.getlist("host"), *(part.strip() for value in headers.getlist("x-forwarded-host") for part in value.split(","))]
        if any(not any(hosts.same_origin(origin, host) for host in own) for origin in headers.getlist("origin")):
            return PlainTextResponse("Another site's page sent this request; FluxGym does not answer it.", 403)
        opened = scope["method"] == "GET" and headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin") and not opened:
            return PlainTextResponse("Another site's page sent this request; FluxGym does not answer it.", 403)
        return None

    async def _ask_for_token(self, request: Request, headers: Headers) -> Response | None:
        """Return None for a known browser or a script with the token, else the answer that asks for it."""
        if self.door.knows_cookie(request.cookies.get(self.door.cookie_name, "")):
            return RedirectHome(self.root_path) if request.url.path.endswith("/login") else None
        given = await self._given_token(request, headers)
        address = request.client.host if request.client else ""
        wait = self.door.throttle.wait_s(address) if given is not None else 0.0
        if wait > 0:
            return PlainTextResponse(f"Too many wrong tokens; try again in {wait:.0f} seconds.", 429, {"Retry-After": f"{wait:.0f}"})
        if given is not None and self.door.is_token(given):
            is_script = headers.get("authorization", "").lower().startswith("bearer ")
            return None if is_script else self._welcome(request)
        if given is not None:
            self.door.throttle.count_wrong(address)
        return self._login(request, "That is not the token." if given is not None else "")

    async def _given_token(self, request: Request, headers: Headers) -> str | None:
        """Return the token that a request carries as Bearer, in the address or in the form; None if it carries none."""
        scheme, _, value = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return value
        if request.method == "GET" and request.scope["path"] == "/" and "token" in request.query_params:
            return request.query_params["token"]
        if request.method == "POST" and request.scope["path"] == "/login":
            body = b""
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_FORM_BYTES:
                    return ""
            return parse_qs(body.decode("utf-8", "replace")).get("token", [""])[0]
        return None

    def _login(self, request: Request, complaint: str) -> Response:
        """Answer a browser with the form, a script with one sentence."""
        if "text/html" not in request.headers.get("accept", ""):
            return JSONResponse(
                {"error": "This needs the token: send it as 'Authorization: Bearer TOKEN'."}, 401, {"WWW-Authenticate": "Bearer"}
            )
        nonce = secrets.token_urlsafe(16)
        return HTMLResponse(token_auth.login_page(f"{self.root_path}/login", complaint, nonce), 401, _own_policy(nonce))

    def _welcome(self, request: Request) -> Response:
        """Remember the browser and send it to the page."""
        nonce = secrets.token_urlsafe(16)
        response = HTMLResponse(token_auth.welcome_page(f"{self.root_path}/", nonce), headers=_own_policy(nonce))
        secure = request.headers.get("x-forwarded-proto", request.url.scheme).split(",")[0].strip() == "https"
        response.set_cookie(
            self.door.cookie_name, self.door.cookie_value(), max_age=token_auth.COOKIE_AGE_S, path=f"{self.root_path}/",
            httponly=True, samesite="strict", secure=secure,
        )  # fmt: skip
        return response


def _without_server_name(scope: Scope) -> Scope:
    """Take away the header by which any client could tell Gradio what address its links are to have."""
    return {**scope, "headers": [(name, value) for name, value in scope["headers"] if name.lower() != b"x-gradio-server"]}


def _names_files(value: object) -> bool:
    """Return True if anything in a message has the shape of Gradio's file data."""
    if isinstance(value, dict):
        return "path" in value or "_type" in value or "meta" in value or any(_names_files(item) for item in value.values())
    return isinstance(value, list) and any(_names_files(item) for item in value)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a receiver that gives a body that was read already, and then what comes after it."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


class RedirectHome(Response):
    """Sends a browser that is known already from the login form to the page."""

    def __init__(self, root_path: str) -> None:
        super().__init__(status_code=303, headers={"Location": f"{root_path}/"})


def _own_policy(nonce: str) -> dict[str, str]:
    """Return the content policy of the door's own pages."""
    rules = f"default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    return {"Content-Security-Policy": rules, "Cache-Control": "no-store"}


def _with_headers(send: Send, *, page: bool = False) -> Send:
    """Add to an answer what every answer carries; the page also gets the policy that keeps it from asking other hosts."""

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["X-Content-Type-Options"] = "nosniff"
            headers["Referrer-Policy"] = "same-origin"
            headers["Cross-Origin-Opener-Policy"] = "same-origin"
            headers["Cross-Origin-Resource-Policy"] = "same-origin"
            for name in ("access-control-allow-origin", "access-control-allow-credentials"):
                if name in headers:
                    del headers[name]
            if page and "content-security-policy" not in headers:
                headers["Content-Security-Policy"] = PAGE_POLICY
                headers["Cache-Control"] = "no-store"
        await send(message)

    return send_with_headers


def bad_request(sentence: str, status: int = 400) -> Response:
    """Answer a request of our own script with one plain sentence."""
    return Response(json.dumps({"error": sentence}), status, media_type="application/json")

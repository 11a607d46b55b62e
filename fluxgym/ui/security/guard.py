"""ASGI middleware in front of every route, Gradio's own included: checks Host, Origin and token, and adds the security headers.

It wraps the whole application, so no mounted route (API docs, event streams, uploads, static files) bypasses it.
"""

import secrets
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fluxgym.ui.api.responses import error_response
from fluxgym.ui.security import hosts
from fluxgym.ui.security.request_body import check_body, refuse
from fluxgym.ui.security.token_auth import COOKIE_AGE_S, TokenAuth, login_page, welcome_page

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
MAX_FORM_BYTES = 8192


def is_known_route(path: str) -> bool:
    """Return True for the page, FluxGym's own routes and the routes of Gradio that the page needs."""
    if path in ("/", "/login") or path.startswith("/fluxgym/"):
        return True
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
        self._token_auth = token_auth
        self.allowed_hosts = allowed_hosts
        self.beyond_loopback = beyond_loopback
        self.root_path = root_path.rstrip("/")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(self._without_root(scope), receive, send)
        elif scope["type"] == "websocket":  # not used
            await receive()
            await send({"type": "websocket.close", "code": 1008})

    def _without_root(self, scope: Scope) -> Scope:
        """Remove root_path from the path if the proxy did not."""
        path: str = scope["path"]
        if self.root_path and (path + "/").startswith(self.root_path + "/"):
            return {**scope, "path": path[len(self.root_path) :] or "/", "raw_path": None}
        return scope

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        refusal = self._refuse_host(headers, scope) or self._refuse_origin(headers, scope)
        if refusal is None and not is_known_route(scope["path"]):
            refusal = refuse(scope, "There is nothing at this address.", 404)
        if refusal is None and self._token_auth.is_required:
            refusal = await self._check_token(Request(scope, receive), headers)
        if refusal is None:
            receive, refusal = await check_body(scope, receive)
        if refusal is not None:
            await refusal(scope, receive, _with_headers(send))
        else:
            await self.app(_without_server_name(scope), receive, _with_headers(send, page=scope["path"] == "/"))

    def _refuse_host(self, headers: Headers, scope: Scope) -> Response | None:
        """Refuse a Host, or a proxy's X-Forwarded-Host, that is not allowed."""
        own = str(scope["server"][0]) if self.beyond_loopback and scope.get("server") else None
        named = headers.getlist("host")
        forwarded = [part.strip() for value in headers.getlist("x-forwarded-host") for part in value.split(",")]
        if len(named) != 1:
            return refuse(scope, "The request must have exactly one Host header.", 400)
        for value in (*named, *forwarded):
            host = hosts.split_host(value)
            if host is None:
                return refuse(scope, "The Host header is not a host name.", 400)
            if not hosts.is_allowed(host[0], self.allowed_hosts, own):
                return refuse(scope, f"This host is not allowed. If it is yours, start FluxGym with --allow-host {host[0]}.", 403)
        return None

    def _refuse_origin(self, headers: Headers, scope: Scope) -> Response | None:
        """Refuse a request of another site's page: by its Origin header, or by the browser's Sec-Fetch-Site."""
        own = [*headers.getlist("host"), *(part.strip() for value in headers.getlist("x-forwarded-host") for part in value.split(","))]
        if any(not any(hosts.same_origin(origin, host) for host in own) for origin in headers.getlist("origin")):
            return refuse(scope, "Requests from other sites are not allowed.", 403)
        opened = scope["method"] == "GET" and headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin") and not opened:
            return refuse(scope, "Requests from other sites are not allowed.", 403)
        return None

    async def _check_token(self, request: Request, headers: Headers) -> Response | None:
        """Return None for a request with the cookie or the bearer token, else the response that requests the token."""
        if self._token_auth.is_cookie(request.cookies.get(self._token_auth.cookie_name, "")):
            return RedirectHome(self.root_path) if request.url.path.endswith("/login") else None
        token = await self._token_of(request, headers)
        address = request.client.host if request.client else ""
        wait = self._token_auth.throttle.wait_s(address) if token is not None else 0.0
        if wait > 0:
            return refuse(request.scope, f"Too many wrong tokens; try again in {wait:.0f} seconds.", 429, {"Retry-After": f"{wait:.0f}"})
        if token is not None and self._token_auth.is_token(token):
            is_script = headers.get("authorization", "").lower().startswith("bearer ")
            return None if is_script else self._welcome(request)
        if token is not None:
            self._token_auth.throttle.count_wrong(address)
        return self._login(request, "That is not the token." if token is not None else "")

    async def _token_of(self, request: Request, headers: Headers) -> str | None:
        """Return the token of the Authorization header, the query or the login form; None without one."""
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
        """Return the login form for a browser, a JSON error for a script."""
        if "text/html" not in request.headers.get("accept", ""):
            sentence = "A token is required. Send it as 'Authorization: Bearer TOKEN'."
            return error_response(sentence, 401, code="TokenRequired", headers={"WWW-Authenticate": "Bearer"})
        nonce = secrets.token_urlsafe(16)
        return HTMLResponse(login_page(f"{self.root_path}/login", complaint, nonce), 401, _own_policy(nonce))

    def _welcome(self, request: Request) -> Response:
        """Set the cookie and redirect the browser to the page."""
        nonce = secrets.token_urlsafe(16)
        response = HTMLResponse(welcome_page(f"{self.root_path}/", nonce), headers=_own_policy(nonce))
        secure = request.headers.get("x-forwarded-proto", request.url.scheme).split(",")[0].strip() == "https"
        response.set_cookie(
            self._token_auth.cookie_name, self._token_auth.cookie_value(), max_age=COOKIE_AGE_S, path=f"{self.root_path}/",
            httponly=True, samesite="strict", secure=secure,
        )  # fmt: skip
        return response


def _without_server_name(scope: Scope) -> Scope:
    """Remove the header with which a client could set the address of Gradio's links."""
    return {**scope, "headers": [(name, value) for name, value in scope["headers"] if name.lower() != b"x-gradio-server"]}


class RedirectHome(Response):
    """Redirect to the page, for a browser that opens the login form with a valid cookie."""

    def __init__(self, root_path: str) -> None:
        super().__init__(status_code=303, headers={"Location": f"{root_path}/"})


def _own_policy(nonce: str) -> dict[str, str]:
    """Return the content security policy of the login pages."""
    rules = f"default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    return {"Content-Security-Policy": rules, "Cache-Control": "no-store"}


def _with_headers(send: Send, *, page: bool = False) -> Send:
    """Add the security headers of every response; page adds the policy that allows requests to this origin only."""

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

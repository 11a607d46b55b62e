"""The token of a request: the cookie, the Authorization header, the login form, or `?token=` in the page's address, which is exchanged for the cookie."""

import asyncio
import secrets
from urllib.parse import parse_qs, parse_qsl, urlencode

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from fluxgym.ui.api.responses import error_response
from fluxgym.ui.security.local_request import client_network
from fluxgym.ui.security.login_pages import login_page, own_policy, welcome_page
from fluxgym.ui.security.refusals import refuse
from fluxgym.ui.security.token_auth import COOKIE_AGE_S, TokenAuth

MAX_FORM_BYTES = 8192
FORM_TIMEOUT_S = 10.0
WRONG = "That is not the token."


class Login:
    """Lets requests with the token pass and answers the others with the login form."""

    def __init__(self, token_auth: TokenAuth, root_path: str) -> None:
        self._auth = token_auth
        self._home = f"{root_path}/"
        self._action = f"{root_path}/login"

    @property
    def is_required(self) -> bool:
        """Return True if requests need a token."""
        return self._auth.is_required

    async def refuse(self, request: Request) -> Response | None:
        """Return None for a request with the cookie or the bearer token, else the response that requests the token or sets the cookie."""
        if self._auth.is_cookie(request.cookies.get(self._auth.cookie_name, "")):
            return RedirectResponse(self._home, 303) if request.scope["path"] == "/login" else self.without_token(request)
        token = await self._token_of(request)
        if token is None:
            return self._form(request)
        if self._auth.is_token(token):
            return None if _bearer(request.headers) is not None else self._welcome(request)
        return self._refuse_wrong(request)

    def without_token(self, request: Request) -> Response | None:
        """Return a redirect to the page's address without its `?token=`, None if it has none."""
        if _query_token(request) is None:
            return None
        return RedirectResponse(self._home_with_query(request), 303, {"Cache-Control": "no-store"})

    def _home_with_query(self, request: Request) -> str:
        query = [(name, value) for name, value in parse_qsl(request.url.query, keep_blank_values=True) if name != "token"]
        return f"{self._home}?{urlencode(query)}" if query and request.scope["path"] == "/" else self._home

    async def _token_of(self, request: Request) -> str | None:
        """Return the token of the Authorization header, the query or the login form; None without one."""
        if (bearer := _bearer(request.headers)) is not None:
            return bearer
        if request.method == "POST" and request.scope["path"] == "/login":
            return await _form_token(request)
        return _query_token(request)

    def _refuse_wrong(self, request: Request) -> Response:
        client = _client_of(request)
        wait = self._auth.throttle.wait_s(client)
        if wait <= 0:
            self._auth.throttle.count_wrong(client)
            return self._form(request, WRONG)
        sentence, headers = (
            f"Too many wrong tokens; try again in {wait:.0f} seconds.",
            {"Retry-After": f"{wait:.0f}", "Connection": "close"},
        )
        if "text/html" in request.headers.get("accept", ""):
            return self._form(request, sentence, status=429, headers=headers)
        return refuse(request.scope, sentence, 429, headers)

    def _form(self, request: Request, complaint: str = "", *, status: int = 401, headers: dict[str, str] | None = None) -> Response:
        """Return the login form for a browser, a JSON error for a script."""
        if "text/html" not in request.headers.get("accept", ""):
            sentence = "A token is required. Send it as 'Authorization: Bearer TOKEN'."
            return error_response(sentence, status, code="TokenRequired", headers={"WWW-Authenticate": "Bearer"})
        nonce = secrets.token_urlsafe(16)
        return HTMLResponse(login_page(self._action, complaint, nonce), status, own_policy(nonce) | (headers or {}))

    def _welcome(self, request: Request) -> Response:
        """Set the cookie and send the browser to the page."""
        nonce = secrets.token_urlsafe(16)
        response = HTMLResponse(welcome_page(self._home_with_query(request), nonce), headers=own_policy(nonce))
        secure = request.headers.get("x-forwarded-proto", request.url.scheme).split(",")[0].strip() == "https"
        response.set_cookie(
            self._auth.cookie_name, self._auth.cookie_value(), max_age=COOKIE_AGE_S, path=self._home,
            httponly=True, samesite="strict", secure=secure,
        )  # fmt: skip
        return response


def _bearer(headers: Headers) -> str | None:
    """Return the token of the Authorization header, None without one."""
    scheme, _, value = headers.get("authorization", "").partition(" ")
    return value if scheme.lower() == "bearer" else None


def _query_token(request: Request) -> str | None:
    """Return the token in the page's address, None without one; other addresses take none."""
    is_page = request.method in ("GET", "HEAD") and request.scope["path"] == "/"
    return request.query_params.get("token") if is_page else None


async def _form_token(request: Request) -> str:
    """Return the token of the login form, "" if the form is too long or does not arrive within FORM_TIMEOUT_S seconds."""
    body = b""
    try:
        async with asyncio.timeout(FORM_TIMEOUT_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_FORM_BYTES:
                    return ""
    except TimeoutError:
        return ""
    return parse_qs(body.decode("utf-8", "replace")).get("token", [""])[0]


def _client_of(request: Request) -> str:
    """Return the client of a request: the address of the connection, and behind a proxy the address that it names, so that one visitor is counted."""
    peer = client_network(request.client.host) if request.client else ""
    named = request.headers.get("x-forwarded-for", "").rpartition(",")[2].strip()
    return f"{peer} {client_network(named[:64])}" if named else peer

"""Token authentication: the comparison, the cookie, the limit of wrong tokens per address, and the login form.

The cookie holds a keyed digest of the token, never the token itself. It stays valid when the app restarts with the same token.
"""

import hashlib
import hmac
import html
import secrets
import time
from collections import deque
from collections.abc import Callable

TRIES = 8
WINDOW_S = 60.0
COOKIE_AGE_S = 30 * 24 * 3600


class Throttle:
    """Counts the wrong tokens of each client address; after TRIES within WINDOW_S seconds, the address has to wait."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._wrong: dict[str, deque[float]] = {}

    def wait_s(self, address: str) -> float:
        """Return the seconds that an address has to wait before its next try, or 0.0."""
        tries = self._wrong.get(address)
        while tries and self._clock() - tries[0] > WINDOW_S:
            tries.popleft()
        if not tries:
            self._wrong.pop(address, None)
            return 0.0
        return WINDOW_S - (self._clock() - tries[0]) if len(tries) >= TRIES else 0.0

    def count_wrong(self, address: str) -> None:
        """Count a wrong token; only the latest 10,000 addresses are kept."""
        self._wrong.setdefault(address, deque(maxlen=TRIES)).append(self._clock())
        while len(self._wrong) > 10_000:
            self._wrong.pop(next(iter(self._wrong)))


class TokenAuth:
    """Checks tokens and cookies; a token of None disables the check."""

    def __init__(self, token: str | None, port: int) -> None:
        self._token = token
        self.cookie_name = f"fluxgym_{port}"
        self.throttle = Throttle()

    @property
    def is_required(self) -> bool:
        """Return True if requests need a token."""
        return self._token is not None

    def cookie_value(self) -> str:
        """Return the cookie's value: an HMAC of the token."""
        return hmac.new((self._token or "").encode(), b"fluxgym page", hashlib.sha256).hexdigest()

    def is_cookie(self, value: str) -> bool:
        """Return True if a cookie's value is valid; the comparison takes constant time."""
        return self.is_required and hmac.compare_digest(value.encode(), self.cookie_value().encode())

    def is_token(self, value: str) -> bool:
        """Return True if a token is correct; the comparison takes constant time."""
        return self.is_required and hmac.compare_digest(value.strip().encode(), (self._token or "").encode())


def make_token() -> str:
    """Return a new random token."""
    return secrets.token_urlsafe(24)


STYLE = """
:root { color-scheme: light dark; font: 15px/24px system-ui, sans-serif; --line: #d5d8dd; --accent: #3b5bdb; --on: #fff; --bad: #b3261e }
@media (prefers-color-scheme: dark) { :root { --line: #454b55; --accent: #91a7ff; --on: #12151a; --bad: #ff9d94 } }
body { display: grid; place-items: center; min-height: 90vh; margin: 0; padding: 16px }
form { width: min(360px, 100%); display: grid; gap: 12px }
h1 { font-size: 20px; margin: 0 } p { margin: 0 } .bad { color: var(--bad) }
input, button { font: inherit; padding: 8px 12px; border-radius: 8px; border: 1px solid var(--line); width: 100%; box-sizing: border-box }
button { background: var(--accent); border-color: var(--accent); color: var(--on); font-weight: 600; cursor: pointer }
"""
RETRY = """
const key = "fluxgym.tried", from = document.referrer && new URL(document.referrer).origin;
if (from !== location.origin && !sessionStorage.getItem(key)) { sessionStorage.setItem(key, "1"); location.replace(location.href); }
"""


def page(title: str, body: str, nonce: str, script: str = "") -> str:
    """Return a login page with this body; the caller escapes user input in it."""
    tail = f'<script nonce="{nonce}">{script}</script>' if script else ""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f'<title>{html.escape(title)}</title><style nonce="{nonce}">{STYLE}</style></head><body>{body}{tail}</body></html>'
    )


def login_page(action: str, complaint: str, nonce: str) -> str:
    """Return the login form.

    Browsers do not send a SameSite=Strict cookie after a click on another site's link, so without a complaint the page reloads itself once.
    """
    wrong = f'<p class="bad" role="alert">{html.escape(complaint)}</p>' if complaint else ""
    body = (
        f'<form method="post" action="{html.escape(action)}"><h1>FluxGym</h1>'
        "<p>Enter the token that you set for FluxGym, or that it printed in its terminal at startup.</p>"
        '<label for="token">Token</label><input id="token" name="token" type="password" autocomplete="current-password" required autofocus>'
        f"{wrong}<button>Open FluxGym</button></form>"
    )
    return page("FluxGym: token", body, nonce, "" if complaint else RETRY)


def welcome_page(target: str, nonce: str) -> str:
    """Return the page after a correct token; its script opens target, so that the browser sends the SameSite=Strict cookie."""
    body = f'<p>Signed in. <a id="on" href="{html.escape(target)}">Open FluxGym</a></p>'
    return page("FluxGym", body, nonce, 'location.replace(document.getElementById("on").href);')

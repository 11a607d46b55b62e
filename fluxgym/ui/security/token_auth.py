"""The token at the door: comparing it, remembering a browser that gave it, slowing down who guesses, and the form that asks for it.

The cookie holds a keyed digest of the token, never the token, so a browser stays known when the app starts again with the same token.
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
    """Counts wrong tokens of each address; after TRIES within WINDOW_S the address has to wait."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._wrong: dict[str, deque[float]] = {}

    def wait_s(self, address: str) -> float:
        """Return how long an address has to wait before its next try, 0.0 if not at all."""
        tries = self._wrong.get(address)
        while tries and self._clock() - tries[0] > WINDOW_S:
            tries.popleft()
        if not tries:
            self._wrong.pop(address, None)
            return 0.0
        return WINDOW_S - (self._clock() - tries[0]) if len(tries) >= TRIES else 0.0

    def count_wrong(self, address: str) -> None:
        """Remember a wrong token; of very many addresses only the latest are kept."""
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
    def asks(self) -> bool:
        """Return True if a token is demanded."""
        return self._token is not None

    def cookie_value(self) -> str:
        """Return what the cookie of a browser that gave the right token holds."""
        return hmac.new((self._token or "").encode(), b"fluxgym page", hashlib.sha256).hexdigest()

    def knows_cookie(self, value: str) -> bool:
        """Return True if a cookie is the right one, in constant time."""
        return self.asks and hmac.compare_digest(value.encode(), self.cookie_value().encode())

    def is_token(self, value: str) -> bool:
        """Return True if a token is the right one, in constant time."""
        return self.asks and hmac.compare_digest(value.strip().encode(), (self._token or "").encode())


def make_token() -> str:
    """Make a token for a start that was given none."""
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
    """Wrap the body of one of the door's own pages; the caller has escaped what is not ours."""
    tail = f'<script nonce="{nonce}">{script}</script>' if script else ""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f'<title>{html.escape(title)}</title><style nonce="{nonce}">{STYLE}</style></head><body>{body}{tail}</body></html>'
    )


def login_page(action: str, complaint: str, nonce: str) -> str:
    """Return the login form; a strict cookie is not sent on a click from another site, so the page asks once again by itself."""
    wrong = f'<p class="bad" role="alert">{html.escape(complaint)}</p>' if complaint else ""
    body = (
        f'<form method="post" action="{html.escape(action)}"><h1>FluxGym</h1>'
        "<p>This page asks for the token that was given to the app, or printed in its terminal when it started.</p>"
        '<label for="token">Token</label><input id="token" name="token" type="password" autocomplete="current-password" required autofocus>'
        f"{wrong}<button>Open FluxGym</button></form>"
    )
    return page("FluxGym: token", body, nonce, "" if complaint else RETRY)


def welcome_page(target: str, nonce: str) -> str:
    """Return the page after a right token: it moves on by itself, so that the strict cookie goes along."""
    body = f'<p>Welcome. <a id="on" href="{html.escape(target)}">Open FluxGym</a></p>'
    return page("FluxGym", body, nonce, 'location.replace(document.getElementById("on").href);')

"""Token authentication: the comparison, the cookie, and the limit of wrong tokens per client.

The cookie holds a keyed digest of the token, never the token itself. It stays valid when the app restarts with the same token.
"""

import hashlib
import hmac
import secrets
import time
from collections import deque
from collections.abc import Callable

TRIES = 8
WINDOW_S = 60.0
MAX_CLIENTS = 10_000
COOKIE_AGE_S = 30 * 24 * 3600


class Throttle:
    """Counts the wrong tokens of each client; after TRIES within WINDOW_S seconds, its next wrong ones are refused without a form.

    A correct token is never refused, so that guessing does not lock out the owner, not even through the same proxy.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._wrong: dict[str, deque[float]] = {}

    def wait_s(self, client: str) -> float:
        """Return the seconds until a client's wrong tokens are no longer too many, or 0.0."""
        tries = self._wrong.get(client)
        while tries and self._clock() - tries[0] > WINDOW_S:
            tries.popleft()
        if not tries:
            self._wrong.pop(client, None)
            return 0.0
        return WINDOW_S - (self._clock() - tries[0]) if len(tries) >= TRIES else 0.0

    def count_wrong(self, client: str) -> None:
        """Count a wrong token; only the latest MAX_CLIENTS clients are kept."""
        self._wrong.setdefault(client, deque(maxlen=TRIES)).append(self._clock())
        while len(self._wrong) > MAX_CLIENTS:
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

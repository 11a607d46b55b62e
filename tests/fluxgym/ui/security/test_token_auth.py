"""The token's comparison, and the bounded throttle."""

from fluxgym.ui.security import token_auth
from fluxgym.ui.security.token_auth import TRIES, WINDOW_S, Throttle, TokenAuth, make_token


def test_cookie_outlives_restart_with_same_token_only():
    assert TokenAuth("secret", 1).is_cookie(TokenAuth("secret", 1).cookie_value())
    assert not TokenAuth("other", 1).is_cookie(TokenAuth("secret", 1).cookie_value())
    assert not TokenAuth("secret", 1).is_cookie("")


def test_auth_without_token_requires_none_and_accepts_none():
    auth = TokenAuth(None, 1)
    assert not auth.is_required
    assert not auth.is_token("")
    assert not auth.is_cookie(auth.cookie_value())


def test_throttle_forgets_after_its_window():
    now = [0.0]
    throttle = Throttle(lambda: now[0])
    for _ in range(TRIES):
        assert throttle.wait_s("a") == 0
        throttle.count_wrong("a")
    assert throttle.wait_s("a") == WINDOW_S
    assert throttle.wait_s("b") == 0
    now[0] = WINDOW_S + 1
    assert throttle.wait_s("a") == 0


def test_generated_tokens_are_unique_and_long():
    assert make_token() != make_token()
    assert len(make_token()) >= 32


def test_throttle_keeps_bounded_number_of_clients(monkeypatch):
    monkeypatch.setattr(token_auth, "MAX_CLIENTS", 2)
    throttle = Throttle(lambda: 0.0)
    for client in ("a", "b", "c"):
        for _ in range(TRIES):
            throttle.count_wrong(client)
    assert [throttle.wait_s(client) > 0 for client in ("a", "b", "c")] == [False, True, True]

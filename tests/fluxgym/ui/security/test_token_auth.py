"""The token's comparison, the throttle's memory, and the form."""

from fluxgym.ui.security.token_auth import TRIES, WINDOW_S, Throttle, TokenAuth, login_page, make_token


def test_the_cookie_outlives_a_restart_with_the_same_token_only():
    assert TokenAuth("secret", 1).knows_cookie(TokenAuth("secret", 1).cookie_value())
    assert not TokenAuth("other", 1).knows_cookie(TokenAuth("secret", 1).cookie_value())
    assert not TokenAuth("secret", 1).knows_cookie("")


def test_without_a_token_nobody_is_asked_and_nothing_is_right():
    door = TokenAuth(None, 1)
    assert not door.asks
    assert not door.is_token("")
    assert not door.knows_cookie(door.cookie_value())


def test_the_throttle_forgets_after_its_window():
    now = [0.0]
    throttle = Throttle(lambda: now[0])
    for _ in range(TRIES):
        assert throttle.wait_s("a") == 0
        throttle.count_wrong("a")
    assert throttle.wait_s("a") == WINDOW_S
    assert throttle.wait_s("b") == 0
    now[0] = WINDOW_S + 1
    assert throttle.wait_s("a") == 0


def test_made_tokens_differ_and_are_long():
    assert make_token() != make_token()
    assert len(make_token()) >= 32


def test_the_form_escapes_what_it_is_told():
    assert "<script>alert" not in login_page("/x?<script>alert(1)</script>", "<script>alert(1)</script>", "nonce")

"""docs/security.md and docs/cloud.md name the headers, limits, routes, flags and messages that the code has."""

import re

import pytest

from fluxgym.app_settings import LIMIT_OF_PROXY_DETECTION, build_parser
from fluxgym.ui.security import connections, login, unread_body
from fluxgym.ui.security.guard import GRADIO, GRADIO_API, is_known_route
from fluxgym.ui.security.host_rules import OTHER_SITE
from fluxgym.ui.security.local_request import PROXY_HEADERS, token_message
from fluxgym.ui.security.request_body import MAX_MESSAGE_BYTES
from fluxgym.ui.security.token_auth import TRIES, WINDOW_S
from tests.support.source_tree import ROOT

SECURITY = (ROOT / "docs" / "security.md").read_text()
CLOUD = (ROOT / "docs" / "cloud.md").read_text()


def section(title: str) -> str:
    """Return the text below a heading of docs/security.md."""
    return SECURITY.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_headers_of_proxies_are_all_named():
    (item,) = [item for item in SECURITY.split("\n- ") if "begins with one of" in item]
    assert re.findall(r"`([\w-]+)`", item) == list(PROXY_HEADERS)


def test_routes_are_those_that_guard_lets_through():
    rows = [line.split("|")[1] for line in section("Routes").splitlines() if line.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`([^`]+)`", row)}
    assert {name.rstrip("/") for name in GRADIO} <= {name.rstrip("/") for name in named}
    assert {name.rstrip("/") for name in GRADIO_API} <= named
    for name in named:
        assert is_known_route(name if name.startswith("/") else f"/gradio_api/{name}") or name == "/gradio_api/", name


def test_limits_are_those_of_code():
    table, limits = section("Limits before login"), connections.ConnectionLimits(total=1, per_client=1)
    expected = (
        f"less {connections.OWN_FILES}, at most {connections.MAX_CONNECTIONS}", f"| {limits.head_s:.0f} s, 16 kB", f"| {login.FORM_TIMEOUT_S:.0f} s, ",
        f"| {limits.body_s:.0f} s", f"| {limits.write_s:.0f} s", f"{unread_body.BEFORE_LOGIN.num_bytes >> 20} MiB and {unread_body.BEFORE_LOGIN.total_s:.0f} s",
        f"{unread_body.AFTER_LOGIN.num_bytes >> 30} GiB and {unread_body.AFTER_LOGIN.total_s:.0f} s",
    )  # fmt: skip
    assert [text for text in expected if text not in table] == []
    assert login.MAX_FORM_BYTES == 8 << 10
    assert f"after {TRIES} within {WINDOW_S:.0f} s" in SECURITY
    assert f"{MAX_MESSAGE_BYTES >> 20} MiB; a form" in SECURITY


@pytest.mark.parametrize("document", [SECURITY, CLOUD], ids=["security", "cloud"])
def test_flags_exist_and_limit_of_detection_is_reported(document):
    flags = {option for action in build_parser()._actions for option in action.option_strings}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", document)) <= flags
    for word in ("FLUXGYM_TOKEN", "HTTP/1.1", "adds no header"):
        assert word in document
        assert word in LIMIT_OF_PROXY_DETECTION


def test_messages_of_cloud_document_are_those_of_code():
    assert "This request came through a proxy or from another site" in CLOUD
    assert token_message("x").startswith("This request came through a proxy or from another site")
    assert f"{OTHER_SITE[:-1]}: the browser shows …" in CLOUD
    sources = "".join((ROOT / path).read_text() for path in ("fluxgym/ui/assets/api.js", "fluxgym/ui/security/host_rules.py", "app.py"))
    for sentence in (
        "The proxy in front of FluxGym does not take a file of this size",
        "This host is not allowed",
        "characters and can be guessed",
    ):
        assert sentence in CLOUD
        assert sentence in sources

"""Which Host headers are allowed."""

import pytest

from fluxgym.ui.security.hosts import is_allowed, is_local, same_origin, split_host


@pytest.mark.parametrize("header", ["", "a/b", "user@host", "a b", "host:port", "a,b", "[::1", "host:99999"])
def test_header_that_is_not_host_is_refused(header):
    assert split_host(header) is None


@pytest.mark.parametrize(("header", "parts"), [("Box.Example:80", ("box.example", "80")), ("[::1]:1", ("::1", "1")), ("a.", ("a", ""))])
def test_split_host_separates_host_and_port(header, parts):
    assert split_host(header) == parts


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "127.1.2.3", "::1"])
def test_loopback_hosts_are_local(name):
    assert is_local(name)


@pytest.mark.parametrize("name", ["localhost.example", "10.0.0.1", "127.0.0.1.example", "0.0.0.0", "example"])
def test_other_hosts_are_not_local(name):
    assert not is_local(name)


def test_wildcards_match_subdomains_only():
    assert is_allowed("a.pods.example", ["*.Pods.example"], None)
    assert not is_allowed("pods.example", ["*.pods.example"], None)
    assert not is_allowed("evilpods.example", ["*.pods.example"], None)
    assert is_allowed("10.0.0.7", [], "10.0.0.7")


@pytest.mark.parametrize(
    ("origin", "host", "same"),
    [
        ("http://box:80", "box", True), ("https://box", "box:443", True), ("http://box", "box:8080", False), ("null", "box", False),
        ("file://box", "box", False), ("http://box/path", "box", False), ("http://box.example", "box", False),
    ],
)  # fmt: skip
def test_same_origin_compares_scheme_host_and_port(origin, host, same):
    assert same_origin(origin, host) is same

"""The list of allowed Host names, and the comparison of Origin with Host.

In a DNS rebinding attack, an attacker's host name resolves to 127.0.0.1 and the browser sends it as Host; only this list detects that.
"""

import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

DEFAULT_PORTS = {"http": "80", "https": "443"}


def split_host(header: str) -> tuple[str, str] | None:
    """Return (name, port) of a Host header, lower case, port "" if it has no port; None if it is not a host."""
    if not header or any(char in header for char in "/@?#\\ \t,"):
        return None
    try:
        parts = urlsplit(f"//{header}")
        port = parts.port
    except ValueError:
        return None
    return (parts.hostname.rstrip("."), "" if port is None else str(port)) if parts.hostname else None


def is_local(name: str) -> bool:
    """Return True for localhost and loopback addresses."""
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def is_allowed(name: str, allowed: Iterable[str], own_address: str | None) -> bool:
    """Return True for a local name, an allowed name (rules such as "*.example.com" too) and the address that the client connected to."""
    if is_local(name) or name == own_address:
        return True
    return any(name.endswith(rule[1:]) if rule.startswith("*.") else name == rule for rule in (entry.lower() for entry in allowed))


def same_origin(origin: str, host: str) -> bool:
    """Return True if an Origin header names this host; "null" and malformed origins do not."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    if parts.scheme not in DEFAULT_PORTS or parts.path or parts.query:
        return False
    of_origin, of_host = split_host(parts.netloc), split_host(host)
    if of_origin is None or of_host is None:
        return False
    default = DEFAULT_PORTS[parts.scheme]
    return (of_origin[0], of_origin[1] or default) == (of_host[0], of_host[1] or default)

"""Requests without a token: only those of a browser or program on this machine that did not come through a proxy.

A proxy on this machine connects from a loopback address too, so the address alone shows nothing. A proxy that sends HTTP/1.1, sets Host and
adds no header cannot be distinguished from a local client; only a token helps there.
"""

import ipaddress
import secrets
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import HTMLResponse, Response
from starlette.types import Scope

from fluxgym.ui.security import hosts
from fluxgym.ui.security.login_pages import own_policy, reopen_page
from fluxgym.ui.security.refusals import refuse

# Headers that proxies and tunnels add, by their beginning.
PROXY_HEADERS = (
    "forwarded", "via", "x-forwarded", "x-real-ip", "cf-", "true-client-ip", "x-client-ip", "x-cluster-client-ip", "x-original-", "x-envoy-",
    "x-amzn-", "x-azure-", "x-arr-", "x-cloud-trace-context", "fly-", "fastly-", "tailscale-", "x-proxy", "proxy-",
)  # fmt: skip
HTTP_VERSIONS = ("1.1", "2")


def refuse_unless_local(scope: Scope, headers: Headers, root_path: str) -> Response | None:
    """Return None for a request of this machine that has no header of a proxy, else the refusal, which explains how to set a token."""
    sign = proxy_sign(scope, headers)
    if sign is None and _is_of_another_host(headers.getlist("referer"), headers):
        sign = "a Referer of another host"
        if scope["method"] == "GET" and scope["path"] == "/" and "text/html" in headers.get("accept", ""):
            nonce = secrets.token_urlsafe(16)
            return HTMLResponse(reopen_page(f"{root_path}/", token_message(sign), nonce), 403, own_policy(nonce))
    return None if sign is None else refuse(scope, token_message(sign), 403)


def proxy_sign(scope: Scope, headers: Headers) -> str | None:
    """Return the header or address that shows that a request did not come directly from this machine, None if there is none."""
    client = scope.get("client")
    if not client or not hosts.is_local(client[0].partition("%")[0].removeprefix("::ffff:")):
        return "an address of another machine"
    if scope.get("http_version", "1.1") not in HTTP_VERSIONS:
        return f"HTTP/{scope['http_version']}"
    return next((f"the header {name.title()}" for name in headers if name.startswith(PROXY_HEADERS)), None)


def token_message(sign: str) -> str:
    """Return the message that explains how FluxGym can be used through a proxy."""
    return (
        f"This request came through a proxy or from another site ({sign}), and FluxGym answers those only with a token: set the environment "
        "variable FLUXGYM_TOKEN to a long secret and restart FluxGym with --allow-host and the host name in the browser’s address bar."
    )


def _is_of_another_host(referers: list[str], headers: Headers) -> bool:
    """Return True if a Referer names another host than the request; a Referer that is not a URL counts as one."""
    own = headers.get("host", "")
    return any(not hosts.same_origin(_origin_of(referer), own) for referer in referers)


def _origin_of(referer: str) -> str:
    """Return the origin of a URL, "" if it has none."""
    try:
        parts = urlsplit(referer)
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.netloc}"


def client_network(address: str) -> str:
    """Return the address that limits count a client by: an IPv4 address, or the /64 network of an IPv6 address, which belongs to one client."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, 64), strict=False))

"""Which Host and Origin a request may name: refusals of other hosts and of other sites' pages."""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Scope

from fluxgym.ui.security import hosts
from fluxgym.ui.security.refusals import refuse

OTHER_SITE = "Requests from other sites are not allowed."


@dataclass(frozen=True, kw_only=True)
class HostRules:
    """The allowed hosts; beyond_loopback adds the address that the client connected to."""

    allowed: tuple[str, ...] = ()
    beyond_loopback: bool = False

    def refuse(self, scope: Scope, headers: Headers) -> Response | None:
        """Return None for a request whose Host and Origin are allowed, else the refusal."""
        forwarded = [part.strip() for value in headers.getlist("x-forwarded-host") for part in value.split(",")]
        named = headers.getlist("host")
        if len(named) != 1:
            return refuse(scope, "The request must have exactly one Host header.", 400)
        return self._refuse_host(scope, (*named, *forwarded)) or self._refuse_origin(scope, headers, (*named, *forwarded))

    def _refuse_host(self, scope: Scope, named: Sequence[str]) -> Response | None:
        """Refuse a Host, or a proxy's X-Forwarded-Host, that is not allowed."""
        own = str(scope["server"][0]) if self.beyond_loopback and scope.get("server") else None
        for value in named:
            host = hosts.split_host(value)
            if host is None:
                return refuse(scope, "The Host header is not a host name.", 400)
            if not hosts.is_allowed(host[0], self.allowed, own):
                return refuse(scope, f"This host is not allowed. If it is yours, start FluxGym with --allow-host {host[0]}.", 403)
        return None

    def _refuse_origin(self, scope: Scope, headers: Headers, own: Sequence[str]) -> Response | None:
        """Refuse a request of another site's page: by its Origin header, or by the browser's Sec-Fetch-Site."""
        for origin in headers.getlist("origin"):
            if not any(hosts.same_origin(origin, host) for host in own):
                return refuse(scope, self._other_origin(origin, own[0]), 403)
        opened = scope["method"] == "GET" and headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin") and not opened:
            return refuse(scope, OTHER_SITE, 403)
        return None

    def _other_origin(self, origin: str, host: str) -> str:
        """Return the error message about an Origin that is not the Host: another site, or a proxy that replaces the Host header."""
        try:
            parts = urlsplit(origin)
        except ValueError:
            return OTHER_SITE
        name = hosts.split_host(parts.netloc)
        if parts.scheme not in hosts.DEFAULT_PORTS or name is None:
            return OTHER_SITE
        option = "" if hosts.is_allowed(name[0], self.allowed, None) else f" and start FluxGym with --allow-host {name[0]}"
        return (
            f"{OTHER_SITE[:-1]}: the browser shows {parts.netloc[:200]}, but the Host header is {host[:200]}; if that is your own proxy, "
            f"let it pass on the Host header (nginx: proxy_set_header Host $http_host;){option}."
        )

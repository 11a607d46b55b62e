"""The route table of the whole app, for tests of all routes."""

import re
import tempfile
from pathlib import Path

from fastapi.routing import iter_route_contexts
from starlette.routing import BaseRoute, Mount

from fluxgym.ui.server import make_server
from tests.support.small_installation import small_installation


def walk(routes: list[BaseRoute], prefix: str = "") -> list[tuple[str, str]]:
    """Return (method, path) of every route below, those of mounted applications too; a kind of route that is not known fails."""
    found = []
    for route in iter_route_contexts(routes):
        path, methods = getattr(route, "path", None), getattr(route, "methods", None)
        if isinstance(route.original_route, Mount):
            found += walk(route.original_route.routes, prefix + route.original_route.path)
        else:
            assert path is not None and methods, f"{route.original_route!r} has no path or no methods; this test does not know what it is"
            found += [(method, prefix + path) for method in sorted(methods)]
    return found


def all_routes() -> list[tuple[str, str]]:
    """Return (method, path) of every route of the app, with values in place of the parameters."""
    with tempfile.TemporaryDirectory() as folder:
        server = make_server(small_installation(Path(folder)))
    return sorted({(method, re.sub(r"\{\w+(:\w+)?\}", "x", path)) for method, path in walk(server.app.routes)})

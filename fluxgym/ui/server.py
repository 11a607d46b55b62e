"""The app as a server: Gradio mounted in a FastAPI app behind the guard, plus the routes of ui/api. Nothing else is served."""

import asyncio
import errno
import logging
import resource
import socket
from http import HTTPStatus
from typing import Any

import gradio as gr
import uvicorn
from starlette.datastructures import MutableHeaders
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fluxgym.app_settings import Settings
from fluxgym.errors import SettingsError
from fluxgym.planning.plan import Planner, PlanningCaches
from fluxgym.sessions.index import SessionIndex
from fluxgym.ui import theme
from fluxgym.ui.api.app import api_app
from fluxgym.ui.api.assets import read_assets
from fluxgym.ui.api.images import ImageRoutes
from fluxgym.ui.form_events import FormEvents
from fluxgym.ui.page import build_page
from fluxgym.ui.page_scripts import PageScripts
from fluxgym.ui.security.connections import ConnectionLimits, ConnectionTable, LimitedConfig
from fluxgym.ui.security.guard import NOTHING_HERE, Guard
from fluxgym.ui.security.log_limit import limit_log
from fluxgym.ui.security.refusals import refuse
from fluxgym.ui.security.token_auth import TokenAuth

logger = logging.getLogger(__name__)
VERSION_HEADER = "FluxGym-Page"
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
COMPRESSED = "/assets/"  # Gradio's; a download of model files would only take longer


class PageCompression:
    """ASGI middleware that compresses the page and Gradio's scripts for browsers that accept it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app, self._compressed = app, GZipMiddleware(app, minimum_size=2000, compresslevel=6)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        path = scope.get("path", "")
        is_page = scope["type"] == "http" and (path == "/" or path.startswith(COMPRESSED))
        await (self._compressed if is_page else self._app)(scope, receive, send)


class PageHeaders:
    """ASGI middleware that sends the header `Link` with the page, and the version of the page's scripts with each response.

    The version lets a page of an earlier version reload itself.
    """

    def __init__(self, app: ASGIApp, *, version: str, link: str) -> None:
        self._app, self._version, self._link = app, version, link

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        is_page = scope["type"] == "http" and scope["path"] == "/"

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers[VERSION_HEADER] = self._version
                if is_page:
                    headers["Link"] = self._link
            await send(message)

        await self._app(scope, receive, send_with_headers)


def make_server(settings: Settings) -> Guard:
    """Return the whole app with the guard outermost; a token is required if `settings.token` is set."""
    index = SessionIndex(settings.outputs)
    caches = PlanningCaches()
    images = ImageRoutes(settings, caches.dataset)
    assets = read_assets()
    scripts = PageScripts(assets)
    app = api_app(settings, index, images, Planner(settings, caches))
    app.routes.append(assets.route)
    app.routes.append(Route("/fluxgym/{path:path}", _nothing_here, methods=METHODS))  # Gradio would answer with an error of its own form
    gr.mount_gradio_app(
        app, build_page(settings, FormEvents(settings, images, index, caches), scripts), path="", root_path=settings.root_path or None,
        theme=theme.theme(), head=scripts.head(),
        footer_links=[], run_history=False, enable_monitoring=False, ssr_mode=False, show_error=False, pwa=False, mcp_server=False,
    )  # fmt: skip
    app.add_middleware(PageCompression)
    app.add_middleware(PageHeaders, version=assets.version, link=scripts.preload(settings.root_path))
    return Guard(
        app,
        token_auth=TokenAuth(settings.token, settings.port),
        allowed_hosts=settings.allowed_hosts,
        beyond_loopback=not settings.is_loopback,
        root_path=settings.root_path,
    )


def _nothing_here(request: Request) -> Response:
    """Answer a request to an address of FluxGym that no route has, such as one with a slash in a file's name."""
    return refuse(request.scope, NOTHING_HERE, HTTPStatus.NOT_FOUND)


def listen(settings: Settings) -> socket.socket:
    """Return the listening socket.

    Raises:
        SettingsError: If the port or address cannot be used.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)  # without the protocol, asyncio leaves Nagle's delay on: 40 ms per answer
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)
    except (OSError, UnicodeError) as error:
        is_in_use = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        why = "is taken already; close the other program" if is_in_use else f"cannot be used ({error})"
        raise SettingsError(f"Port {settings.port} on {settings.host} {why}, or choose another with --port.") from None
    return listener


class Server(uvicorn.Server):
    """uvicorn's server, which logs one line instead of a traceback while no more files can be opened."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to listen."""
        asyncio.get_running_loop().set_exception_handler(_log_loop_error)
        await super().startup(sockets)


def _log_loop_error(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    error = context.get("exception")
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        logger.warning("No more files can be opened, so new connections wait. Raise the limit (ulimit -n) and restart FluxGym.")
    else:
        loop.default_exception_handler(context)


def http_server(app: ASGIApp, limits: ConnectionLimits) -> Server:
    """Return the HTTP server of an app, which writes neither addresses nor their queries to a log."""
    config = LimitedConfig(
        app, table=ConnectionTable(limits), ws="none", log_config=None, log_level="warning", access_log=False, server_header=False,
        proxy_headers=False,
    )  # fmt: skip
    return Server(config)


def serve(app: Guard, listener: socket.socket) -> None:
    """Serve the app until the process is interrupted."""
    limit_log()
    limits = ConnectionLimits.of_open_files(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    http_server(app, limits).run(sockets=[listener])

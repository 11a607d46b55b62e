"""The app as a server: Gradio mounted in a FastAPI app behind the guard, plus the routes of the JSON API and of files. Nothing else is served."""

import errno
import socket

import gradio as gr
from fastapi import FastAPI

from fluxgym import __version__
from fluxgym.app_settings import Settings
from fluxgym.errors import SettingsError
from fluxgym.sessions.index import SessionIndex
from fluxgym.ui import theme
from fluxgym.ui.api.banner import BannerRoutes
from fluxgym.ui.api.bulk import BulkRoutes
from fluxgym.ui.api.compare import CompareRoutes
from fluxgym.ui.api.config import config_router
from fluxgym.ui.api.files import FileRoutes
from fluxgym.ui.api.images import ImageRoutes
from fluxgym.ui.api.responses import API, add_error_handlers
from fluxgym.ui.api.runs import RunRoutes
from fluxgym.ui.api.sessions import SessionRoutes
from fluxgym.ui.api.templates import TemplateRoutes
from fluxgym.ui.form_events import FormEvents
from fluxgym.ui.page import build_page, head
from fluxgym.ui.security.guard import Guard
from fluxgym.ui.security.token_auth import TokenAuth


def make_server(settings: Settings) -> Guard:
    """Return the whole app with the guard outermost; a token is required if `settings.token` is set."""
    index = SessionIndex(settings.outputs)
    sessions, images = SessionRoutes(settings, index), ImageRoutes(settings)
    app = FastAPI(title="FluxGym", version=__version__, docs_url=None, redoc_url=None, openapi_url=f"{API}/openapi.json")
    add_error_handlers(app)
    FileRoutes(settings).add_to(app)
    lists = (BannerRoutes(settings, index), BulkRoutes(settings), CompareRoutes(settings), sessions)
    for routes in (*lists, RunRoutes(settings, sessions), images, TemplateRoutes(settings)):
        app.include_router(routes.router)
    app.include_router(config_router())
    gr.mount_gradio_app(
        app, build_page(settings, FormEvents(settings, images, index)), path="", root_path=settings.root_path or None,
        theme=theme.theme(), head=head(settings.root_path),
        footer_links=[], run_history=False, enable_monitoring=False, ssr_mode=False, show_error=False, pwa=False, mcp_server=False,
    )  # fmt: skip
    return Guard(
        app,
        token_auth=TokenAuth(settings.token, settings.port),
        allowed_hosts=settings.allowed_hosts,
        beyond_loopback=not settings.is_loopback,
        root_path=settings.root_path,
    )


def listen(settings: Settings) -> socket.socket:
    """Return the listening socket.

    Raises:
        SettingsError: If the port or address cannot be used.
    """
    try:
        family, kind, *_, address = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.socket(family, kind)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)
    except (OSError, UnicodeError) as error:
        taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        why = "is taken already; close the other program" if taken else f"cannot be used ({error})"
        raise SettingsError(f"Port {settings.port} on {settings.host} {why}, or choose another with --port.") from None
    return listener

"""The FastAPI app with the routes of the JSON API and of files; server.py adds the page, its scripts and the guard."""

from fastapi import FastAPI

from fluxgym import __version__
from fluxgym.app_settings import Settings
from fluxgym.planning.plan import Planner
from fluxgym.sessions.index import SessionIndex
from fluxgym.ui.api.banner import BannerRoutes
from fluxgym.ui.api.bulk import BulkRoutes
from fluxgym.ui.api.compare import CompareRoutes
from fluxgym.ui.api.files import FileRoutes
from fluxgym.ui.api.images import ImageRoutes
from fluxgym.ui.api.responses import API, DescribedApp, add_error_handlers
from fluxgym.ui.api.runs import RunRoutes
from fluxgym.ui.api.session_actions import ActionRoutes
from fluxgym.ui.api.sessions import SessionRoutes
from fluxgym.ui.api.templates import TemplateRoutes


def api_app(settings: Settings, index: SessionIndex, images: ImageRoutes, planner: Planner) -> FastAPI:
    """Return the app; its OpenAPI description is at /fluxgym/api/openapi.json."""
    app = DescribedApp(title="FluxGym", version=__version__, docs_url=None, redoc_url=None, openapi_url=f"{API}/openapi.json")
    add_error_handlers(app)
    lists = (
        BannerRoutes(settings, index),
        BulkRoutes(settings),
        CompareRoutes(settings),
        SessionRoutes(settings, index),
        ActionRoutes(settings, planner),
    )
    for routes in (FileRoutes(settings, images.caches), *lists, RunRoutes(settings), images, TemplateRoutes(settings)):
        app.include_router(routes.router)
    return app

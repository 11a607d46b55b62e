"""Routes of the templates: their names, and deleting one. The form's events save and apply them (form_events.py)."""

from fastapi import APIRouter

from fluxgym.app_settings import Settings
from fluxgym.runs.paths import OutputsPaths
from fluxgym.sessions import templates
from fluxgym.ui.api.answers import TemplateList
from fluxgym.ui.api.responses import new_router


class TemplateRoutes:
    """Routes of the template menu."""

    def __init__(self, settings: Settings) -> None:
        self._outputs = OutputsPaths(settings.outputs)

    @property
    def router(self) -> APIRouter:
        """The routes, to be included in the application."""
        router = new_router()
        router.add_api_route("/templates", self.list, response_model=TemplateList)
        router.add_api_route("/templates/{name}", self.delete, methods=["DELETE"], response_model=TemplateList)
        return router

    def list(self) -> TemplateList:
        """Return the names of all templates."""
        return TemplateList(templates=[template.name for template in templates.list_templates(self._outputs)])

    def delete(self, name: str) -> TemplateList:
        """Delete a template and return the names of the others."""
        templates.delete(self._outputs, name[:300])
        return self.list()

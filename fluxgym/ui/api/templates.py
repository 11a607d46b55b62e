"""Templates on the page: endpoints that list and delete them, and event handlers that save the form as one and apply one."""

from typing import Any

import gradio as gr

from fluxgym.app_settings import Settings
from fluxgym.errors import FluxGymError
from fluxgym.runs.paths import OutputsPaths
from fluxgym.sessions import templates
from fluxgym.ui import form_values
from fluxgym.ui.api.responses import JsonObject, json_endpoint, text
from fluxgym.ui.form_values import Typed


class TemplateHandlers:
    """Endpoints and event handlers of the template bar in Step 1."""

    def __init__(self, settings: Settings) -> None:
        self._outputs = OutputsPaths(settings.outputs)
        self.server = (self.templates, self.forget_template)

    @json_endpoint
    def templates(self, data: JsonObject) -> JsonObject:
        """Return the names of all templates."""
        return {"templates": [template.name for template in templates.list_templates(self._outputs)]}

    @json_endpoint
    def forget_template(self, data: JsonObject) -> JsonObject:
        """Delete the template data["name"]."""
        templates.delete(self._outputs, text(data, "name", 300))
        return {}

    def save(self, event: gr.EventData, *typed: Any) -> JsonObject:
        """Save the form as the template event.name; returns the message to show."""
        state, errors = form_values.to_state(form_values.by_name(typed))
        if errors:
            return {"message": f"Not saved: {next(iter(errors.values()))}"}
        try:
            saved = templates.save(self._outputs, str(getattr(event, "name", "")), state)
        except FluxGymError as error:
            return {"message": f"Not saved: {error}"}
        return {"message": f"Saved as {saved.name}."}

    def applied(self, name: str, typed: Typed) -> Typed | None:
        """Return the field values with a template applied, None if it cannot be read."""
        state, _ = form_values.to_state(typed)
        try:
            return form_values.from_state(templates.apply(self._outputs, name, state))
        except FluxGymError:
            return None

"""Templates on the page: listed and deleted by the part's own script, applied to the form and kept from it by the form's events."""

from typing import Any

import gradio as gr

from fluxgym.app_settings import Settings
from fluxgym.errors import FluxGymError
from fluxgym.runs.paths import OutputsPaths
from fluxgym.sessions import templates
from fluxgym.ui import form_values
from fluxgym.ui.api.answers import Answer, answers, text
from fluxgym.ui.form_values import Typed


class TemplateHandlers:
    """Answers the line of templates in Step 1."""

    def __init__(self, settings: Settings) -> None:
        self._outputs = OutputsPaths(settings.outputs)
        self.server = (self.templates, self.forget_template)

    @answers
    def templates(self, data: Answer) -> Answer:
        """Answer the names of all templates."""
        return {"templates": [template.name for template in templates.list_templates(self._outputs)]}

    @answers
    def forget_template(self, data: Answer) -> Answer:
        """Remove a template."""
        templates.delete(self._outputs, text(data, "name", 300))
        return {}

    def keep(self, event: gr.EventData, *typed: Any) -> Answer:
        """Keep what the form holds under a name; returns what the line says then."""
        state, errors = form_values.to_state(form_values.by_name(typed))
        if errors:
            return {"said": f"Not kept: {next(iter(errors.values()))}"}
        try:
            kept = templates.save(self._outputs, str(getattr(event, "name", "")), state)
        except FluxGymError as error:
            return {"said": f"Not kept: {error}"}
        return {"said": f"Kept as {kept.name}."}

    def applied(self, name: str, typed: Typed) -> Typed | None:
        """Return what the fields show with a template over them, None when there is no such template."""
        state, _ = form_values.to_state(typed)
        try:
            return form_values.from_state(templates.apply(self._outputs, name, state))
        except FluxGymError:
            return None

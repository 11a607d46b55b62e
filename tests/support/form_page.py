"""A page's form without a browser: it sends the form's events and applies the answers as the page does, for tests."""

import json
from typing import Any

from fluxgym.app_settings import Settings
from fluxgym.config.settings import SETTINGS
from fluxgym.sessions.drafts import Draft
from fluxgym.sessions.index import SessionIndex
from fluxgym.ui.api.images import ImageRoutes
from fluxgym.ui.form import NAMES, component
from fluxgym.ui.form_events import FormEvents, to_json
from fluxgym.ui.form_request import FormRequest

# What the fields hold when Gradio has built them, before any event.
BUILT = {name: component(setting).get_config()["value"] for name, setting in SETTINGS.items()}


class FormPage:
    """A page in one browser: its fields, and the patches that were applied to them as APPLY_PATCH does."""

    def __init__(self, settings: Settings, draft: Draft) -> None:
        self.events = FormEvents(settings, ImageRoutes(settings), SessionIndex(settings.outputs))
        self.draft = draft
        self.fields = dict(BUILT)
        self.source = self.model = ""
        self.number = 0

    def send(self, kind: str, *, gpus: str = "", number: int | None = None, **details: Any) -> dict[str, Any]:
        """Send an event, with a number or the next one, and apply the answer."""
        self.number = self.number + 1 if number is None else number
        data = {"request": self.number, "kind": kind, "draft": self.draft.id, "source": self.source, "model": self.model, **details}
        answer = to_json(self.events.respond(FormRequest.from_event(data, dict(self.fields), gpus)))
        json.dumps(answer, allow_nan=False)
        assert (answer["request"], answer["kind"], answer["source"][0]) == (self.number, kind, self.source)
        for name, (sent, new) in answer["patch"].items():
            assert self.fields[name] == sent
            assert (sent or "") != new, f"{name} did not change, but is in the patch"
            self.fields[name] = new
        self.source = answer["source"][1]
        self.model = answer.get("model", self.model)
        return answer

    def open(self, viewed: str | None = None, unsent: str | None = None) -> dict[str, Any]:
        """Open the page; the fields are those of a new page."""
        self.fields, self.source, self.model = dict(BUILT), "", ""
        return self.send("restore", viewed=viewed or "", unsent=unsent or "null")

    def typed(self, **changes: Any) -> dict[str, Any]:
        """Type into some fields; returns the answer to it. What is not a field is a part of the event."""
        self.fields |= {name: value for name, value in changes.items() if name in NAMES}
        return self.send("typed", **{name: value for name, value in changes.items() if name not in NAMES})

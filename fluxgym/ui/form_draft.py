"""What a browser's draft holds of the form: written after each event, read when a page opens, cleared by Start."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fluxgym.contract.progress import is_number
from fluxgym.errors import FluxGymError
from fluxgym.sessions.drafts import Draft, FormOrder, open_draft
from fluxgym.ui import form_values
from fluxgym.ui.api.responses import JsonObject
from fluxgym.ui.form import NAMES
from fluxgym.ui.form_request import FormRequest, readable
from fluxgym.ui.form_values import State, Typed

logger = logging.getLogger(__name__)


class FormDrafts:
    """The drafts of one outputs folder, as far as the form's events use them."""

    def __init__(self, outputs: Path) -> None:
        self._outputs = outputs

    def of(self, request: FormRequest) -> Draft:
        """Return the draft of a request's browser."""
        return open_draft(self._outputs, request.draft)

    def read(self, request: FormRequest) -> JsonObject | None:
        """Return the form that was typed last: what the browser could not send, or the saved draft if that is newer; None if there is neither."""
        saved, unsent = self.of(request).read_form(), _loaded(request.text("unsent"))
        return saved if unsent is None or _is_before(unsent, saved) else unsent

    def write(self, request: FormRequest, state: State, typed: Typed) -> JsonObject:
        """Write the draft, with the fields exactly as they are, unless newer content is saved already; return what the page learns of it.

        If that fails, the answer has the reason, and the browser keeps what was typed.
        """
        try:
            order = request.order(is_new=typed != request.typed)
            self.of(request).write_form({"state": state, "typed": typed, "source": request.source}, order)
        except FluxGymError as error:
            return {"message": str(error), "draft": False}
        return {"draft": True, "kept": request.number}

    def clear(self, request: FormRequest, *, images: bool = True) -> JsonObject:
        """Clear the draft, its images too or not, unless it is newer; return a message for the page if that cannot be done now."""
        draft = self.of(request)
        try:
            if draft.forget_form(request.order(is_new=True)) and images:
                draft.forget_images()
        except (FluxGymError, OSError) as error:
            logger.warning("the draft %s was not cleared: %s", draft.id, error)
            return {"message": str(error)}
        return {}


def _loaded(unsent: str) -> JsonObject | None:
    """Return the form that the browser could not send when it was typed, None if it cannot be read.

    model is the one whose defaults the fields showed.
    """
    try:
        kept = readable(json.loads(unsent or "null"))
        typed = {name: value for name, value in kept["values"].items() if name in NAMES}  # another version's may be gone by now
        exact = {name: value for name, value in typed.items() if form_values.is_typed(name, value)}
        state = form_values.to_state(form_values.from_state({}) | exact)[0]
        return {
            "state": state,
            "typed": exact,
            "source": kept.get("source", ""),
            "model": kept.get("model"),
            "edited_at": kept.get("edited_at"),
        }
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _is_before(unsent: JsonObject, saved: JsonObject | None) -> bool:
    """Return True if what a browser could not send is older than the draft, which another tab has saved since."""
    order = FormOrder.from_json(mapping(saved).get("order"))
    edited_at: Any = unsent["edited_at"]
    return order is not None and is_number(edited_at) and FormOrder(page="", number=0, edited_at=edited_at).is_before(order)


def mapping(value: object) -> Mapping[str, Any]:
    """Return a value from a browser or a file if it is a table, else an empty one."""
    return value if isinstance(value, Mapping) else {}

"""The form in a browser's draft: written after each event, read when a page opens, cleared by Start."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fluxgym.contract.progress import is_number
from fluxgym.errors import FluxGymError
from fluxgym.runs.state import State
from fluxgym.sessions.drafts import Draft, FormOrder, open_draft
from fluxgym.ui import form_values
from fluxgym.ui.form_request import FormRequest, readable
from fluxgym.ui.form_values import FormValues, field_values

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class SavedForm:
    """The form as it was typed last: its state, the values of those fields that can hold what was typed, and the slug of the images' run.

    model is the one whose defaults the fields showed, and edited_at when they were edited, by the app's clock; both are None for a form
    that the app has saved.
    """

    state: State
    typed: FormValues
    source: str
    model: str | None = None
    edited_at: float | None = None


@dataclass(frozen=True, kw_only=True)
class DraftWritten:
    """The result of writing a draft: the number of the request whose content is saved, else why it could not be saved."""

    kept: int | None = None
    message: str | None = None

    @property
    def is_saved(self) -> bool:
        """True if the draft has the content."""
        return self.message is None


class FormDrafts:
    """The drafts of one outputs folder, as far as the form's events use them."""

    def __init__(self, outputs: Path) -> None:
        self._outputs = outputs

    def of(self, request: FormRequest) -> Draft:
        """Return the draft of a request's browser."""
        return open_draft(self._outputs, request.draft_id)

    def read(self, request: FormRequest) -> SavedForm | None:
        """Return the form that was typed last: what the browser could not send, or the saved draft if that is newer; None if there is neither."""
        saved, unsent = self.of(request).read_form(), _unsent_form(request.details.unsent)
        if unsent is not None and not _is_before(unsent, saved):
            return unsent
        return None if saved is None else _saved_form(saved)

    def write(self, request: FormRequest, state: State, typed: FormValues) -> DraftWritten:
        """Write the draft, with the fields exactly as they are, unless newer content is saved already.

        If that fails, the browser keeps what was typed.
        """
        try:
            order = request.order(is_new=typed != request.typed)
            self.of(request).write_form({"state": state, "typed": typed, "source": request.source}, order)
        except FluxGymError as error:
            return DraftWritten(message=str(error))
        return DraftWritten(kept=request.number)

    def clear(self, request: FormRequest, *, images: bool = True, run: str = "") -> str | None:
        """Clear the draft, its images too or not, unless it is newer; return a message for the page if that cannot be done now.

        run is the slug of the run that the form shows from now on.
        """
        draft = self.of(request)
        try:
            if draft.forget_form(request.order(is_new=True), run=run) and images:
                draft.forget_images()
        except (FluxGymError, OSError) as error:
            logger.warning("the draft %s was not cleared: %s", draft.id, error)
            return str(error)
        return None


def _saved_form(saved: Mapping[str, Any]) -> SavedForm:
    source, state = saved.get("source"), saved.get("state")
    return SavedForm(
        state=dict(state) if isinstance(state, Mapping) else {},
        typed=field_values(saved.get("typed")),
        source=source if isinstance(source, str) else "",
    )


def _unsent_form(text: str) -> SavedForm | None:
    """Return the form that the browser could not send when it was typed, None if it cannot be read; its fields may be another version's."""
    try:
        data = readable(json.loads(text or "null"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(data, Mapping) or not isinstance(data.get("values"), Mapping):
        return None
    typed = field_values(data["values"])
    source, model = data.get("source"), data.get("model")
    edited_at: Any = data.get("edited_at")
    return SavedForm(
        state=form_values.to_state({**form_values.from_state({}), **typed})[0],
        typed=typed,
        source=source if isinstance(source, str) else "",
        model=model if isinstance(model, str) else None,
        edited_at=float(edited_at) if is_number(edited_at) else None,
    )


def _is_before(unsent: SavedForm, saved: Mapping[str, Any] | None) -> bool:
    """Return True if what a browser could not send is older than the draft, which another tab has saved since."""
    order = FormOrder.from_json(saved.get("order")) if saved else None
    if order is None or unsent.edited_at is None:
        return False
    return FormOrder(page="", number=0, edited_at=unsent.edited_at).is_before(order)

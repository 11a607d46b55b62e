"""One event of the form, as the page sends it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from fluxgym.config.setting_spec import Kind
from fluxgym.config.settings import SETTINGS
from fluxgym.contract.progress import is_number
from fluxgym.sessions.drafts import FormOrder
from fluxgym.ui.form_values import Typed

MAX_NUMBER = 2**53  # what a number in JavaScript counts exactly


@dataclass(frozen=True, kw_only=True)
class FormRequest:
    """One event of the form: what the page knew when it was sent.

    typed are the fields' values by name. source is the slug of the run whose images the form shows, "" for the draft's own. model is the
    base model whose defaults the form shows. page identifies the tab, edited_at is when its fields were last edited and sent_at when
    the event was sent, in seconds by the app's clock. details are the event's own values.
    """

    number: int
    kind: str
    draft: str
    source: str
    model: str
    gpus: str
    typed: Typed
    page: str
    edited_at: float
    sent_at: float
    details: Mapping[str, Any]

    @classmethod
    def from_event(cls, data: object, typed: Typed, gpus: object) -> Self:
        """Read the event's data, which comes from the browser; what is missing or of the wrong type is empty."""
        event = readable(data) if isinstance(data, Mapping) else {}

        def text(name: str) -> str:
            value = event.get(name)
            return value if isinstance(value, str) else ""

        def seconds(name: str) -> float:
            value: Any = event.get(name)
            return float(value) if is_number(value) else 0.0

        number = event.get("request")
        return cls(
            number=number if isinstance(number, int) and 0 <= number <= MAX_NUMBER else 0,
            kind=text("kind"), draft=text("draft"), source=text("source"), model=text("model"),
            gpus=gpus if isinstance(gpus, str) else "", typed=_typed(typed), page=text("page"), edited_at=seconds("edited_at"),
            sent_at=seconds("sent_at"), details=event,
        )  # fmt: skip

    def text(self, name: str) -> str:
        """Return one of the event's own values, "" if it is not a string."""
        value = self.details.get(name)
        return value if isinstance(value, str) else ""

    def texts(self, name: str) -> tuple[str, ...]:
        """Return one of the event's own lists of strings, () if it is anything else."""
        value = self.details.get(name)
        return tuple(each for each in value if isinstance(each, str)) if isinstance(value, list) else ()

    def order(self, *, is_new: bool) -> FormOrder | None:
        """Return the order of the form's content, None if the page did not say it; is_new if the event itself changes the content."""
        if not self.page:
            return None
        return FormOrder(page=self.page[:100], number=self.number, edited_at=self.sent_at if is_new else self.edited_at)


def _typed(typed: Typed) -> Typed:
    """Return the fields' values; a choice that is not text, which no page sends, counts as empty."""
    values = readable(typed)
    return {name: None if SETTINGS[name].kind is Kind.CHOICE and not isinstance(value, str) else value for name, value in values.items()}


def readable(value: Any) -> Any:
    """Return a copy of a JSON value whose texts are valid Unicode, as files and answers need it; half of a surrogate pair becomes "?"."""
    return json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))

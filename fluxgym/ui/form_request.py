"""One event of the form, as the page sends it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self, get_args

from fluxgym.config.setting_spec import SettingType
from fluxgym.config.settings import SETTINGS
from fluxgym.contract.progress import is_number
from fluxgym.sessions.drafts import FormOrder
from fluxgym.sessions.start import IfExists
from fluxgym.ui.api.answers import FieldValue, FormKind
from fluxgym.ui.form_values import FormValues

MAX_NUMBER = 2**53  # what a number in JavaScript counts exactly
KINDS: Mapping[str, FormKind] = {kind: kind for kind in get_args(FormKind)}


@dataclass(frozen=True, kw_only=True)
class EventDetails:
    """What only some kinds of events have; it is empty in the others and if the browser sent something of another type.

    restore: viewed is the slug of the run that was viewed last, unsent the form that the browser could not send, as JSON.
    open: slug of the run, and replace is True if what was typed may be discarded. images: name and trigger that the images propose, and
    folders, the names of the folders that they came from. apply_template, save_template: name of the template, and agreed, the codes of
    errors that the user agreed to. reset: names of settings. put_back: values by name. start: if_exists is the choice about a taken name.
    """

    name: str = ""
    slug: str = ""
    trigger: str = ""
    unsent: str = ""
    viewed: str = ""
    if_exists: IfExists | None = None
    replace: bool = False
    agreed: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    values: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class FormRequest:
    """One event of the form: what the page knew when it was sent.

    kind is "" for one that the app does not know. draft_id names the browser's draft. typed are the fields' values by name. source is the
    slug of the run whose images the form shows, "" for the draft's own. model is the base model whose defaults the form shows. page
    identifies the tab, edited_at is when its fields were last edited and sent_at when the event was sent, in seconds by the app's clock.
    """

    number: int
    kind: FormKind
    draft_id: str
    source: str
    model: str
    gpus: str
    typed: FormValues
    page: str
    edited_at: float
    sent_at: float
    details: EventDetails

    @classmethod
    def from_event(cls, data: object, typed: Mapping[str, Any], gpus: object) -> Self:
        """Read the event's data, which comes from the browser; what is missing or of the wrong type is empty."""
        event = _Event(readable(data) if isinstance(data, Mapping) else {})
        number = event.value("request")
        return cls(
            number=number if isinstance(number, int) and 0 <= number <= MAX_NUMBER else 0,
            kind=KINDS.get(event.text("kind"), ""),
            draft_id=event.text("draft"),
            source=event.text("source"),
            model=event.text("model"),
            gpus=gpus if isinstance(gpus, str) else "",
            typed={name: _field_value(name, value) for name, value in readable(typed).items()},
            page=event.text("page"),
            edited_at=event.seconds("edited_at"),
            sent_at=event.seconds("sent_at"),
            details=event.details(),
        )

    def order(self, *, is_new: bool) -> FormOrder | None:
        """Return the order of the form's content, None if the page did not send it; is_new if the event itself changes the content."""
        if not self.page:
            return None
        return FormOrder(page=self.page[:100], number=self.number, edited_at=self.sent_at if is_new else self.edited_at)


class _Event:
    """Reads values of a JSON object from the browser; what is missing or of the wrong type is empty."""

    def __init__(self, data: Mapping[str, object]) -> None:
        self._data = data

    def value(self, name: str) -> object:
        return self._data.get(name)

    def text(self, name: str) -> str:
        value = self._data.get(name)
        return value if isinstance(value, str) else ""

    def texts(self, name: str) -> tuple[str, ...]:
        value = self._data.get(name)
        return tuple(each for each in value if isinstance(each, str)) if isinstance(value, list) else ()

    def seconds(self, name: str) -> float:
        value: Any = self._data.get(name)
        return float(value) if is_number(value) else 0.0

    def details(self) -> EventDetails:
        if_exists, values = self.text("if_exists"), self._data.get("values")
        return EventDetails(
            name=self.text("name"),
            slug=self.text("slug"),
            trigger=self.text("trigger"),
            unsent=self.text("unsent"),
            viewed=self.text("viewed"),
            if_exists=IfExists(if_exists) if if_exists in tuple(IfExists) else None,
            replace=self._data.get("replace") is True,
            agreed=self.texts("agreed"),
            folders=self.texts("folders"),
            names=self.texts("names"),
            values=values if isinstance(values, Mapping) else {},
        )


def _field_value(name: str, value: object) -> FieldValue:
    """Return a field's value; one of a type that no page sends counts as empty."""
    if isinstance(value, str) or value is None:
        return value
    return value if isinstance(value, bool) and SETTINGS[name].type is not SettingType.CHOICE else None


def readable(value: Any) -> Any:
    """Return a copy of a JSON value whose texts are valid Unicode, as files and answers need it; half of a surrogate pair becomes "?"."""
    return json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))

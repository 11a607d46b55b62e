"""The form's events: opened, edited, another model chosen, Start pressed, a run's settings or a template applied.

Each event is a request with a number, and its answer has no field values: it is a patch {field: [value sent, new value]}, which the page
applies to the fields that did not change since (APPLY_PATCH in form.py). So no answer overwrites what was typed in the meantime.
All events only read files and save the draft, except Start, which answers once the run's supervisor is running.
"""

import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self, cast

from pydantic import TypeAdapter

from fluxgym.app_settings import Settings
from fluxgym.config.settings import SETTINGS, STATE_KEYS
from fluxgym.contract.progress import is_number
from fluxgym.engines.registry import is_executing
from fluxgym.errors import FluxGymError, NameTaken
from fluxgym.models.catalog import default_model
from fluxgym.planning.plan import TrainingPlan
from fluxgym.runs.paths import OutputsPaths
from fluxgym.runs.state import read_state, timestamp_of
from fluxgym.sessions import templates
from fluxgym.sessions.drafts import Draft, FormOrder, open_draft
from fluxgym.sessions.index import SessionIndex
from fluxgym.sessions.listing import last_session
from fluxgym.sessions.preconditions import first_free_run
from fluxgym.sessions.start import IfExists, start_plan
from fluxgym.ui import form_values
from fluxgym.ui.api.answers import FormAnswer
from fluxgym.ui.api.images import ImageRoutes
from fluxgym.ui.api.responses import UNKNOWN_REQUEST, JsonObject
from fluxgym.ui.api.session_rows import resume_offer
from fluxgym.ui.form import NAMES
from fluxgym.ui.form_reply import Form, Reply
from fluxgym.ui.form_values import State, Typed

logger = logging.getLogger(__name__)
TWICE_S = 10.0
FORM_ANSWER = TypeAdapter(FormAnswer)


@dataclass(frozen=True, kw_only=True)
class FormRequest:
    """One event of the form: what the page knew when it was sent.

    typed are the fields' values by name. source is the slug of the run whose images the form shows, "" for the draft's own. model is the
    base model whose defaults the form shows. page tells the tab from others, edited_at is when its fields were last edited and sent_at when
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
        event = data if isinstance(data, Mapping) else {}

        def text(name: str) -> str:
            value = event.get(name)
            return value if isinstance(value, str) else ""

        def seconds(name: str) -> float:
            value: Any = event.get(name)
            return float(value) if is_number(value) else 0.0

        number = event.get("request")
        return cls(
            number=number if isinstance(number, int) else 0,
            kind=text("kind"), draft=text("draft"), source=text("source"), model=text("model"),
            gpus=str(gpus or ""), typed=typed, page=text("page"), edited_at=seconds("edited_at"), sent_at=seconds("sent_at"), details=event,
        )  # fmt: skip

    def text(self, name: str) -> str:
        """Return one of the event's own values, "" if it is not a string."""
        value = self.details.get(name)
        return value if isinstance(value, str) else ""

    def order(self, *, is_new: bool) -> FormOrder | None:
        """Return the order of the form's content, None if the page did not say it; is_new if the event itself changes the content."""
        if not self.page:
            return None
        return FormOrder(page=self.page[:100], number=self.number, edited_at=self.sent_at if is_new else self.edited_at)


class FormEvents:
    """Answers the form's events."""

    def __init__(self, settings: Settings, images: ImageRoutes, index: SessionIndex) -> None:
        self._settings = settings
        self._outputs = OutputsPaths(settings.outputs)
        self._images = images
        self._index = index
        self._form = Form(settings)
        self._kinds: dict[str, Callable[[FormRequest], JsonObject]] = {
            "restore": self.restore, "typed": self.edited, "model": self.choose_model, "images": self.images_changed, "open": self.open,
            "fresh": self.fresh, "apply": self.apply_template, "keep": self.save_template, "start": self.start, "choose": self.start,
            "reset": self.reset, "put": self.put_back,
        }  # fmt: skip

    def answer(self, request: FormRequest) -> JsonObject:
        """Return the answer to an event: request (its number), patch, source ([sent, new]) and what the page shows beside the form."""
        if request.kind not in self._kinds:
            answer: JsonObject = {"message": UNKNOWN_REQUEST}
            request = replace(request, kind="")
        else:
            try:
                answer = self._kinds[request.kind](request)
            except FluxGymError as error:
                answer = {"message": str(error)}
        shown = answer.pop("shown", None)
        patch = {} if shown is None else _patch(request.typed, shown)
        source = answer.get("source", request.source)
        return _checked(answer | {"request": request.number, "kind": request.kind, "patch": patch, "source": (request.source, source)})

    def restore(self, request: FormRequest) -> JsonObject:
        """Fill the form of a page that opens: this browser's draft, else its last viewed run, else the newest, else the defaults."""
        draft = self._draft(request)
        unsent, saved = _loaded(request.text("unsent")), draft.read_form()
        kept = saved if unsent is None or _is_before(unsent, saved) else unsent
        if kept is not None:
            typed = _mapping(kept.get("typed"))
            exact = {name: value for name, value in typed.items() if name in NAMES and form_values.is_typed(name, value)}
            filled = self._filled(request, _mapping(kept.get("state")), self._existing(kept.get("source")), exact)
            return filled | {"draft": True}
        run = last_session(self._outputs, self._index, request.text("viewed") or None)
        try:
            state = read_state(run) if run is not None else None
        except FluxGymError:
            state = None
        if run is None or state is None:
            return self._filled(request, self._form.defaults(self._default_model()), "")
        return self._filled(request, state, run.slug)

    def _default_model(self) -> str:
        """Return the model of an empty form, "" while models.yaml is damaged; the checks say so then."""
        try:
            return default_model(self._settings.models)
        except FluxGymError:
            return ""

    def _filled(self, request: FormRequest, state: Mapping[str, Any], source: str, exact: Typed | None = None) -> JsonObject:
        """Return the answer that fills the form with a state and shows the images of a source; exact is what was typed into some fields."""
        shown = form_values.from_state(state) | (exact or {})
        reply = self._reply(request.draft, source, shown)[1]
        message = {} if exact else _not_taken(form_values.unfit(state))
        return (
            reply.answer | message | {"shown": shown, "source": source, "model": shown["base_model"], "draft": False, "reload_images": True}
        )

    def _reply(self, draft_id: str, source: str, typed: Typed, *, pressed: bool = False) -> tuple[State, Reply]:
        state, errors = form_values.to_state(typed)
        state = self._form.explicit(state)
        folder = self._images.folder(draft_id, self._existing(source))
        return state, self._form.reply(state, errors, folder.path, pressed=pressed)

    def edited(self, request: FormRequest) -> JsonObject:
        """Save what is typed, and answer to it; the browser keeps it until `kept` confirms that it is saved."""
        return self._saved(request, request.typed)

    def _saved(self, request: FormRequest, typed: Typed, **more: Any) -> JsonObject:
        state, reply = self._reply(request.draft, request.source, typed)
        return self._kept(request, state, typed, reply.answer) | more

    def _kept(self, request: FormRequest, state: State, typed: Typed, answer: JsonObject) -> JsonObject:
        """Write the draft, with the fields exactly as they are, unless newer content is saved already.

        If that fails, the answer has the reason, and the browser keeps what was typed.
        """
        try:
            order = request.order(is_new=typed != request.typed)
            self._draft(request).write_form({"state": state, "typed": typed, "source": request.source}, order)
        except FluxGymError as error:
            return answer | {"message": str(error), "draft": False}
        return answer | {"draft": True, "kept": request.number}

    def choose_model(self, request: FormRequest) -> JsonObject:
        """Bring another model's defaults into the fields that still show those of the model before."""
        state, _ = form_values.to_state(request.typed)
        shown = form_values.from_state(self._form.with_other_model(state, request.model))
        return self._saved(request, shown, shown=shown, model=shown["base_model"])

    def fresh(self, request: FormRequest) -> JsonObject:
        """Empty the form for another training: the defaults, no images. Runs are not touched."""
        message = _clear_draft(self._draft(request), request)
        return self._filled(request, self._form.defaults(self._default_model()), "") | message

    def apply_template(self, request: FormRequest) -> JsonObject:
        """Fill the fields with a template; the LoRA's name, and a trigger that is there, stay."""
        state, _ = form_values.to_state(request.typed)
        shown = form_values.from_state(templates.apply(self._outputs, request.text("name"), state))
        return self._saved(request, shown, shown=shown, model=shown["base_model"], notice=f"Applied the template {request.text('name')}.")

    def reset(self, request: FormRequest) -> JsonObject:
        """Set the named settings to the model's defaults."""
        names = request.details.get("names")
        model = str(request.typed["base_model"] or "")
        defaults = self._form.defaults_of(model, [name for name in names if isinstance(name, str)] if isinstance(names, list) else ())
        return self._saved(request, request.typed | defaults, shown=request.typed | defaults)

    def put_back(self, request: FormRequest) -> JsonObject:
        """Undo a reset: set fields to the values that they had."""
        values = {name: value for name, value in _mapping(request.details.get("values")).items() if name in NAMES}
        earlier = {name: value for name, value in values.items() if form_values.is_typed(name, value)}
        answer = self._saved(request, request.typed | earlier, shown=request.typed | earlier)
        return answer | _not_taken([SETTINGS[name].label for name in values.keys() - earlier.keys()])

    def save_template(self, request: FormRequest) -> JsonObject:
        """Save the form's settings as a template."""
        state, errors = form_values.to_state(request.typed)
        if errors:
            return {"message": f"The template was not saved: {next(iter(errors.values()))}"}
        saved = templates.save(self._outputs, request.text("name"), state)
        return {"notice": f"Saved as the template {saved.name}."}

    def images_changed(self, request: FormRequest) -> JsonObject:
        """Answer images that were added, removed or captioned; the example's name and trigger fill these fields if they are empty."""
        proposals = {"lora_name": request.text("name"), "concept_sentence": request.text("trigger")}
        accepted = {name: value for name, value in proposals.items() if value and not str(request.typed[name] or "").strip()}
        shown = request.typed | accepted
        return self._saved(request, shown, shown=shown)

    def start(self, request: FormRequest) -> JsonObject:
        """Start the training that the form describes, or say beside the fields what prevents it."""
        chosen = request.text("if_exists")
        if_exists = cast(IfExists, chosen) if chosen in ("resume", "new", "replace") else None
        state, reply = self._reply(request.draft, request.source, request.typed, pressed=True)
        planned, answer = reply.planned, reply.answer
        if if_exists is None and (slug := self._recent_duplicate(planned)):  # a second press, before the page had the first one's answer
            return _started(slug, answer)
        answer = self._kept(request, state, request.typed, answer)
        if answer["errors"] or any(line["level"] == "error" for line in answer["lines"]):
            return answer
        try:
            run = start_plan(planned, self._settings, if_exists=if_exists, gpus=request.gpus or None)
        except NameTaken:
            if if_exists is None and (slug := self._recent_duplicate(planned)):
                return _started(slug, answer)
            return answer | {"taken": self._choice(planned.run.slug)}
        except FluxGymError as error:
            return _refused(answer, error)
        if if_exists != "resume":  # a resumed run has its own settings and images; what was typed is not in it
            _clear_draft(self._draft(request), request, images=not request.source)
        return _started(run.slug, answer)

    def _recent_duplicate(self, planned: TrainingPlan) -> str:
        """Return the slug of a run that was started with these settings within the last TWICE_S seconds, "" if there is none."""
        run = planned.run
        try:
            started = read_state(run)
        except FluxGymError:
            return ""
        is_same = {"advanced": {}} | {name: started.get(name) for name in STATE_KEYS if name in started} == planned.config.to_state()
        is_new = 0 <= time.time() - timestamp_of(started) < TWICE_S
        return run.slug if is_same and is_new and is_executing(run) else ""

    def _choice(self, slug: str) -> JsonObject:
        """Return what can be done about a taken name, each named by what it will do."""
        version = first_free_run(self._outputs, slug, first_version=2).slug
        resuming = resume_offer(self._outputs.run(slug))
        return {
            "title": f"{slug} exists already",
            "sentence": "A training has this name. It stays as it is until you choose.",
            "resume": resuming and resuming.label,
            "new": f"Start as {version}",
            "replace": None if is_executing(self._outputs.run(slug)) else f"Replace {slug}",
        }

    def open(self, request: FormRequest) -> JsonObject:
        """Fill the form with a run's settings and images. What was typed or uploaded and not started is discarded only if the event says so."""
        draft, replace = self._draft(request), request.details.get("replace") is True
        if draft.read_form() is not None and not replace:
            return {"draft": True}
        try:
            run = self._outputs.run(request.text("slug"))
            state = read_state(run)
        except FluxGymError:  # its page says what is wrong with it
            return {}
        message = _clear_draft(draft, request, images=replace)
        return self._filled(request, state, run.slug) | message

    def _draft(self, request: FormRequest) -> Draft:
        return open_draft(self._settings.outputs, request.draft)

    def _existing(self, source: object) -> str:
        """Return a source that is still there, "" for one that is not."""
        try:
            return source if isinstance(source, str) and source and self._outputs.run(source).dataset.is_dir() else ""
        except FluxGymError:
            return ""


def _checked(answer: JsonObject) -> JsonObject:
    """Return an answer as JSON; it must have the fields and types of FormAnswer."""
    form_answer = FORM_ANSWER.validate_python(FormAnswer(**answer).__dict__)
    return {name: value for name, value in FORM_ANSWER.dump_python(form_answer, mode="json").items() if value is not None}


def _patch(sent: Typed, shown: Typed) -> dict[str, list[Any]]:
    """Return [value sent, new value] of each field whose value changes. An empty field is sent as None or ""."""
    return {name: [sent[name], shown[name]] for name in NAMES if _content(sent[name]) != _content(shown[name])}


def _content(value: Any) -> Any:
    return "" if value is None else value


def _clear_draft(draft: Draft, request: FormRequest, *, images: bool = True) -> JsonObject:
    """Clear a draft, its images too or not, unless it is newer; returns a message for the page if that cannot be done now."""
    try:
        if draft.forget_form(request.order(is_new=True)) and images:
            draft.forget_images()
    except (FluxGymError, OSError) as error:
        logger.warning("the draft %s was not cleared: %s", draft.id, error)
        return {"message": str(error)}
    return {}


def _started(slug: str, answer: JsonObject) -> JsonObject:
    """Answer Start with the run that it made."""
    return answer | {"source": slug, "started": {"slug": slug}, "draft": False, "reload_images": True}


def _refused(answer: JsonObject, error: FluxGymError) -> JsonObject:
    """Put a refusal beside its field, or below the checks when it is about none."""
    if error.field in SETTINGS:
        return answer | {"errors": {**answer["errors"], error.field: str(error)}}
    return answer | {"message": str(error)}


def _loaded(unsent: str) -> JsonObject | None:
    """Return the form that the browser could not send when it was typed, None if it cannot be read."""
    try:
        kept = json.loads(unsent or "null")
        typed = {name: value for name, value in kept["values"].items() if name in NAMES}  # another version's may be gone by now
        exact = {name: value for name, value in typed.items() if form_values.is_typed(name, value)}
        state = form_values.to_state(form_values.from_state({}) | exact)[0]
        return {"state": state, "typed": exact, "source": kept.get("source", ""), "edited_at": kept.get("edited_at")}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _not_taken(labels: list[str]) -> JsonObject:
    """Return a message that names the fields that could not get their earlier values."""
    if not labels:
        return {}
    return {
        "message": f"The saved {'value' if len(labels) == 1 else 'values'} of {', '.join(sorted(labels))} cannot be shown in the form. Check before you start."
    }


def _is_before(unsent: JsonObject, saved: JsonObject | None) -> bool:
    """Return True if what a browser could not send is older than the draft, which another tab has saved since."""
    order = FormOrder.from_json(_mapping(saved).get("order"))
    edited_at: Any = unsent["edited_at"]
    return order is not None and is_number(edited_at) and FormOrder(page="", number=0, edited_at=edited_at).is_before(order)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}

"""The form's events: opened, edited, checked, another model chosen, Start pressed, a run's settings or a template applied.

Each event is a request with a number, and its answer has no field values: it is a patch {field: [value sent, new value]}, which the page
applies to the fields that did not change since (APPLY_PATCH in form.py). So no answer overwrites what was typed in the meantime.
All events only read files and save the draft, except Start, which answers once the run's supervisor is running.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from pydantic import TypeAdapter

from fluxgym.app_settings import Settings
from fluxgym.config.settings import SETTINGS
from fluxgym.contract.kohya_folders import clear_folders
from fluxgym.dataset.flat_folder import REPEATS, TRIGGER, repeats_sentence, settings_of
from fluxgym.errors import FluxGymError
from fluxgym.models.catalog import default_model
from fluxgym.runs.paths import OutputsPaths
from fluxgym.runs.state import read_state
from fluxgym.sessions import templates
from fluxgym.sessions.index import SessionIndex
from fluxgym.sessions.listing import last_session
from fluxgym.ui import form_values
from fluxgym.ui.api.answers import FormAnswer, FormKind
from fluxgym.ui.api.images import ImageRoutes
from fluxgym.ui.api.responses import UNKNOWN_REQUEST, JsonObject, storage_refusal
from fluxgym.ui.form import NAMES
from fluxgym.ui.form_draft import FormDrafts, mapping
from fluxgym.ui.form_reply import Form, Reply
from fluxgym.ui.form_request import FormRequest
from fluxgym.ui.form_start import Start, started
from fluxgym.ui.form_values import State, Typed

logger = logging.getLogger(__name__)
Handler = Callable[[FormRequest], JsonObject]
FORM_ANSWER = TypeAdapter(FormAnswer)


class FormEvents:
    """Answers the form's events."""

    def __init__(self, settings: Settings, images: ImageRoutes, index: SessionIndex) -> None:
        self._settings = settings
        self._outputs = OutputsPaths(settings.outputs)
        self._images = images
        self._index = index
        self._form = Form(settings, index)
        self._drafts = FormDrafts(settings.outputs)
        self._start = Start(settings, self._drafts)
        handlers: dict[FormKind, Handler] = {
            "restore": self.restore, "typed": self.edited, "model": self.choose_model, "images": self.images_changed, "open": self.open,
            "fresh": self.fresh, "apply_template": self.apply_template, "save_template": self.save_template, "start": self.start,
            "reset": self.reset, "put_back": self.put_back, "check": self.check,
        }  # fmt: skip
        self._kinds: Mapping[str, Handler] = {str(kind): handler for kind, handler in handlers.items()}

    def respond(self, request: FormRequest) -> JsonObject:
        """Return the answer to an event: request (its number), patch, source ([sent, new]) and what the page shows beside the form."""
        if request.kind not in self._kinds:
            answer: JsonObject = {"message": UNKNOWN_REQUEST}
            request = replace(request, kind="")
        else:
            try:
                answer = self._kinds[request.kind](request)
            except FluxGymError as error:
                answer = {"message": str(error)}
            except OSError as error:
                logger.warning("the event %s of the form failed: %s", request.kind, error)
                answer = {"message": str(storage_refusal(error))}
        shown = answer.pop("shown", None)
        patch = {} if shown is None else _patch(request.typed, shown)
        source = answer.get("source", request.source)
        return _checked(answer | {"request": request.number, "kind": request.kind, "patch": patch, "source": (request.source, source)})

    def restore(self, request: FormRequest) -> JsonObject:
        """Fill the form of a page that opens: this browser's draft, else its last viewed run, else the newest, else the defaults."""
        kept = self._drafts.read(request)
        if kept is not None:
            typed = mapping(kept.get("typed"))
            exact = {name: value for name, value in typed.items() if name in NAMES and form_values.is_typed(name, value)}
            if isinstance(shown_model := kept.get("model"), str) and shown_model != exact.get("base_model", shown_model):
                exact = self._with_model_defaults(form_values.from_state({}) | exact, shown_model)
            filled = self._filled(request, mapping(kept.get("state")), self._existing(kept.get("source")), exact)
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

    def _reply(self, draft_id: str, source: str, typed: Typed, *, pressed: bool = False, ask: bool = False) -> tuple[State, Reply]:
        state, errors = form_values.to_state(typed)
        state = self._form.explicit(state)
        folder = self._images.folder(draft_id, self._existing(source))
        return state, self._form.reply(state, errors, folder.path, pressed=pressed, ask=ask)

    def edited(self, request: FormRequest) -> JsonObject:
        """Save what is typed, and answer to it; the browser keeps it until `kept` confirms that it is saved."""
        return self._saved(request, request.typed)

    def check(self, request: FormRequest) -> JsonObject:
        """Ask the trainer about settings that only it can check. The page sends this when nothing was typed for a moment."""
        return self._reply(request.draft, request.source, request.typed, ask=True)[1].answer

    def _saved(self, request: FormRequest, typed: Typed, **more: Any) -> JsonObject:
        state, reply = self._reply(request.draft, request.source, typed)
        return reply.answer | self._drafts.write(request, state, typed) | more

    def choose_model(self, request: FormRequest) -> JsonObject:
        """Bring another model's defaults into the fields that still show those of the model before."""
        shown = self._with_model_defaults(request.typed, request.model)
        return self._saved(request, shown, shown=shown, model=shown["base_model"])

    def _with_model_defaults(self, typed: Typed, before: str) -> Typed:
        """Return the fields with the chosen model's defaults in those that still show the defaults of the model before."""
        state, _ = form_values.to_state(typed)
        return form_values.retyped(typed, state, self._form.with_other_model(state, before))

    def fresh(self, request: FormRequest) -> JsonObject:
        """Empty the form for another training: the defaults, no images. Runs are not touched."""
        message = self._drafts.clear(request)
        return self._filled(request, self._form.defaults(self._default_model()), "") | message

    def apply_template(self, request: FormRequest) -> JsonObject:
        """Fill the fields with a template; the LoRA's name, and a trigger that is there, stay."""
        state, _ = form_values.to_state(request.typed)
        shown = form_values.retyped(request.typed, state, templates.apply(self._outputs, request.text("name"), state))
        return self._saved(request, shown, shown=shown, model=shown["base_model"], notice=f"Applied the template {request.text('name')}.")

    def reset(self, request: FormRequest) -> JsonObject:
        """Set the named settings to the model's defaults."""
        names = request.details.get("names")
        model = str(request.typed["base_model"] or "")
        defaults = self._form.defaults_of(model, [name for name in names if isinstance(name, str)] if isinstance(names, list) else ())
        return self._saved(request, request.typed | defaults, shown=request.typed | defaults)

    def put_back(self, request: FormRequest) -> JsonObject:
        """Undo a reset: set fields to the values that they had."""
        values = {name: value for name, value in mapping(request.details.get("values")).items() if name in NAMES}
        earlier = {name: value for name, value in values.items() if form_values.is_typed(name, value)}
        answer = self._saved(request, request.typed | earlier, shown=request.typed | earlier)
        return answer | _not_taken([SETTINGS[name].label for name in values.keys() - earlier.keys()])

    def save_template(self, request: FormRequest) -> JsonObject:
        """Save the form's settings as a template; one of the same name is replaced only if the event agrees to that."""
        state, errors = form_values.to_state(request.typed)
        if errors:
            return {"message": f"The template was not saved: {next(iter(errors.values()))}"}
        saved = templates.save(self._outputs, request.text("name"), state, agreed=request.texts("agreed"))
        return {"notice": f"Saved as the template {saved.name}."}

    def images_changed(self, request: FormRequest) -> JsonObject:
        """Answer images that were added, removed or captioned.

        The example's name and trigger fill these fields if they are empty; so does the trigger of kohya's folders, whose repeats are taken over.
        """
        kohya = clear_folders(request.texts("folders"))
        own = settings_of(kohya)
        proposals = {"lora_name": request.text("name"), "concept_sentence": request.text("trigger") or own.pop(TRIGGER, "")}
        accepted = {name: value for name, value in proposals.items() if value and not str(request.typed[name] or "").strip()}
        shown = request.typed | accepted | ({REPEATS: str(own[REPEATS])} if REPEATS in own else {})
        notice = repeats_sentence(kohya, shown[REPEATS])
        if notice and shown[REPEATS] != request.typed[REPEATS]:
            notice += f" It was {request.typed[REPEATS]}."
        return self._saved(request, shown, shown=shown, **({"notice": notice} if notice else {}))

    def start(self, request: FormRequest) -> JsonObject:
        """Start the training that the form describes, or say beside the fields what prevents it."""
        state, reply = self._reply(request.draft, request.source, request.typed, pressed=True)
        if slug := self._start.first_press(request, reply.planned):  # the page did not have the answer to it yet
            return started(slug, reply.answer)
        answer = reply.answer | self._drafts.write(request, state, request.typed)
        if answer["errors"] or any(line["level"] == "error" for line in answer["lines"]):
            return answer
        return self._start.start(request, reply.planned, answer)

    def open(self, request: FormRequest) -> JsonObject:
        """Fill the form with a run's settings and images. What was typed or uploaded and not started is discarded only if the event says so."""
        replace = request.details.get("replace") is True
        if self._drafts.of(request).read_form() is not None and not replace:
            return {"draft": True}
        try:
            run = self._outputs.run(request.text("slug"))
            state = read_state(run)
        except FluxGymError:  # its page says what is wrong with it
            return {}
        message = self._drafts.clear(request, images=replace)
        return self._filled(request, state, run.slug) | message

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


def _not_taken(labels: list[str]) -> JsonObject:
    """Return a message that names the fields that could not get their earlier values."""
    if not labels:
        return {}
    return {
        "message": f"The saved {'value' if len(labels) == 1 else 'values'} of {', '.join(sorted(labels))} cannot be shown in the form. Check before you start."
    }

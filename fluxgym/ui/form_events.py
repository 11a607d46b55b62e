"""The form's events: opened, edited, checked, another model chosen, Start pressed, a run's settings or a template applied.

Each event is a request with a number, and its answer has no field values: it is a patch {field: [value sent, new value]}, which the page
applies to the fields that did not change since (APPLY_PATCH in form.py). So no answer overwrites what was typed in the meantime.
All events only read files and save the draft, except Start, which answers once the run's supervisor is running.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace

from pydantic import TypeAdapter

from fluxgym.app_settings import Settings
from fluxgym.config.settings import SETTINGS
from fluxgym.contract.dataset_notes import out_of_range_message
from fluxgym.contract.kohya_folders import clear_folders, kohya_folder
from fluxgym.dataset.flat_folder import REPEATS, TRIGGER, repeats_message, settings_of
from fluxgym.errors import FluxGymError, Level
from fluxgym.models.catalog import default_model
from fluxgym.planning.plan import PlanningCaches
from fluxgym.runs.paths import OutputsPaths, RunPaths
from fluxgym.runs.state import State, read_state
from fluxgym.sessions import templates
from fluxgym.sessions.index import SessionIndex
from fluxgym.sessions.listing import last_session
from fluxgym.ui import form_values
from fluxgym.ui.api.answers import FieldValue, FormAnswer, FormKind
from fluxgym.ui.api.images import ImageRoutes
from fluxgym.ui.api.responses import UNKNOWN_REQUEST, JsonObject, storage_refusal
from fluxgym.ui.form import NAMES
from fluxgym.ui.form_draft import FormDrafts
from fluxgym.ui.form_planner import FormPlanner, PlannedForm
from fluxgym.ui.form_request import FormRequest
from fluxgym.ui.form_start import FormStart, started
from fluxgym.ui.form_values import FormValues

logger = logging.getLogger(__name__)
Handler = Callable[[FormRequest], FormAnswer]
FORM_ANSWER = TypeAdapter(FormAnswer)


class FormEvents:
    """Answers the form's events."""

    def __init__(self, settings: Settings, images: ImageRoutes, index: SessionIndex, caches: PlanningCaches | None = None) -> None:
        self._settings = settings
        self._outputs = OutputsPaths(settings.outputs)
        self._images = images
        self._index = index
        self._planner = FormPlanner(settings, index, caches)
        self._drafts = FormDrafts(settings.outputs)
        self._start = FormStart(settings, self._drafts)
        self._handlers: Mapping[FormKind, Handler] = {
            "restore": self.restore, "typed": self.edited, "model": self.choose_model, "images": self.images_changed, "open": self.open,
            "fresh": self.fresh, "apply_template": self.apply_template, "save_template": self.save_template, "start": self.start,
            "reset": self.reset, "put_back": self.put_back, "check": self.check, "": self.unknown,
        }  # fmt: skip

    def respond(self, request: FormRequest) -> FormAnswer:
        """Return the answer to an event; an error is a message in it."""
        try:
            return self._handlers[request.kind](request)
        except FluxGymError as error:
            return replace(unchanged(request), message=str(error))
        except OSError as error:
            logger.warning("the event %s of the form failed: %s", request.kind, error)
            return replace(unchanged(request), message=str(storage_refusal(error)))

    def unknown(self, request: FormRequest) -> FormAnswer:
        """Answer an event that the page never sends."""
        return replace(unchanged(request), message=UNKNOWN_REQUEST)

    def restore(self, request: FormRequest) -> FormAnswer:
        """Fill the form of a page that opens: this browser's draft, else the run that the form was started as or filled with.

        A browser whose form never held anything gets its last viewed run, else the newest, else the defaults.
        """
        saved = self._drafts.read(request)
        if saved is not None:
            typed = saved.typed
            if saved.model is not None and saved.model != typed.get("base_model", saved.model):
                typed = self._with_model_defaults({**form_values.from_state({}), **typed}, saved.model)
            return replace(
                self._filled(request, saved.state, self._restored_source(request, self._existing(saved.source)), typed), draft=True
            )
        run = self._shown_run(request)
        try:
            state = read_state(run) if run is not None else None
        except FluxGymError:
            state = None
        if run is None or state is None:
            return self._filled(request, self._planner.defaults(self._default_model()), "")
        return self._filled(request, state, self._restored_source(request, run.slug))

    def _shown_run(self, request: FormRequest) -> RunPaths | None:
        """Return the run that a form without a draft shows, None for an empty form."""
        draft = self._drafts.of(request)
        for slug in (draft.shown_run(), "" if draft.is_empty() else draft.copied_run()):
            if self._is_there(slug):
                return self._outputs.run(slug)
        if draft.images.count():
            return None  # the images were added to an empty form
        return last_session(self._outputs, self._index, request.details.viewed or None)

    def _restored_source(self, request: FormRequest, source: str) -> str:
        """Return the source of the images that a restored form shows.

        "" if the draft holds a copy of the run's images, which is newer than the form if the page was closed during an upload.
        """
        draft = self._drafts.of(request)
        if source and draft.images.path.is_dir() and draft.is_copy_of(self._outputs.run(source)):
            return ""
        return source

    def _is_there(self, slug: str) -> bool:
        try:
            return bool(slug) and self._outputs.run(slug).ui_state.exists()
        except FluxGymError:
            return False

    def _default_model(self) -> str:
        """Return the model of an empty form, "" while models.yaml is damaged; the checks report that."""
        try:
            return default_model(self._settings.models)
        except FluxGymError:
            return ""

    def _filled(self, request: FormRequest, state: State, source: str, typed: FormValues | None = None) -> FormAnswer:
        """Return the answer that fills the form with a state and shows the images of a source; typed is what some fields had exactly."""
        shown: FormValues = {**form_values.from_state(state), **(typed or {})}
        planned = self._plan(request, source, shown)[1]
        return replace(
            patched(request, shown),
            source=(request.source, source),
            checks=planned.checks,
            message=None if typed else _not_shown(form_values.unfit(state)),
            model=_model(shown),
            draft=False,
            reload_images=True,
        )

    def _plan(
        self, request: FormRequest, source: str, typed: FormValues, *, pressed: bool = False, ask: bool = False
    ) -> tuple[State, PlannedForm]:
        """Return the state and the plan of some fields' values with the images of a source."""
        state, errors = form_values.to_state(typed, self._planner.defaults(str(typed["base_model"] or "")))
        state = self._planner.explicit(state)
        folder = self._images.folder(request.draft_id, self._existing(source))
        return state, self._planner.plan(state, errors, folder.path, pressed=pressed, ask=ask)

    def edited(self, request: FormRequest) -> FormAnswer:
        """Save what is typed, and answer to it; the browser keeps it until `kept` confirms that it is saved."""
        return self._saved(request, request.typed)

    def check(self, request: FormRequest) -> FormAnswer:
        """Run the trainer's check of settings that only it can check. The page sends this when nothing was typed for a moment."""
        return replace(unchanged(request), checks=self._plan(request, request.source, request.typed, ask=True)[1].checks)

    def _saved(self, request: FormRequest, shown: FormValues) -> FormAnswer:
        """Save what the fields show after an event; return the answer that makes them show it."""
        state, planned = self._plan(request, request.source, shown)
        return self._written(request, state, shown, planned)

    def _written(self, request: FormRequest, state: State, shown: FormValues, planned: PlannedForm) -> FormAnswer:
        written = self._drafts.write(request, state, shown)
        return replace(patched(request, shown), checks=planned.checks, kept=written.kept, draft=written.is_saved, message=written.message)

    def choose_model(self, request: FormRequest) -> FormAnswer:
        """Bring another model's defaults into the fields that still show those of the model before."""
        shown = self._with_model_defaults(request.typed, request.model)
        return replace(self._saved(request, shown), model=_model(shown))

    def _with_model_defaults(self, typed: FormValues, before: str) -> FormValues:
        """Return the fields with the chosen model's defaults in those that still show the defaults of the model before."""
        state, _ = form_values.to_state(typed)
        return form_values.retyped(typed, state, self._planner.with_other_model(state, before))

    def fresh(self, request: FormRequest) -> FormAnswer:
        """Empty the form for another training: the defaults, no images. Runs are not touched."""
        message = self._drafts.clear(request)
        answer = self._filled(request, self._planner.defaults(self._default_model()), "")
        return replace(answer, message=message or answer.message)

    def apply_template(self, request: FormRequest) -> FormAnswer:
        """Fill the fields with a template; the LoRA's name, and a trigger that is there, stay."""
        name = request.details.name
        state, _ = form_values.to_state(request.typed)
        shown = form_values.retyped(request.typed, state, templates.apply(self._outputs, name, state))
        return replace(self._saved(request, shown), model=_model(shown), notice=f"Applied the template {name}.")

    def reset(self, request: FormRequest) -> FormAnswer:
        """Set the named settings to the model's defaults."""
        model = str(request.typed["base_model"] or "")
        return self._saved(request, request.typed | self._planner.defaults_of(model, request.details.names))

    def put_back(self, request: FormRequest) -> FormAnswer:
        """Undo a reset or a template: set fields to the values that they had."""
        earlier = form_values.field_values(request.details.values)
        shown = request.typed | earlier
        answer = replace(self._saved(request, shown), model=_model(shown))
        others = [SETTINGS[name].label for name in request.details.values if name in NAMES and name not in earlier]
        return replace(answer, message=_not_shown(others) or answer.message)

    def save_template(self, request: FormRequest) -> FormAnswer:
        """Save the form's settings as a template; one of the same name is replaced only if the event agrees to that."""
        state, errors = form_values.to_state(request.typed)
        if errors:
            return replace(unchanged(request), message=f"The template was not saved: {next(iter(errors.values()))}")
        template = templates.save(self._outputs, request.details.name, state, agreed=request.details.agreed)
        return replace(unchanged(request), notice=f"Saved as the template {template.name}.")

    def images_changed(self, request: FormRequest) -> FormAnswer:
        """Answer images that were added, removed or captioned.

        The example's name and trigger fill these fields if they are empty; so does the trigger of kohya's folders. Their repeats replace those of the form.
        """
        kohya = clear_folders(request.details.folders)
        settings = settings_of(kohya)
        proposals = {"lora_name": request.details.name, "concept_sentence": request.details.trigger or settings.get(TRIGGER, "")}
        accepted = {name: value for name, value in proposals.items() if value and not str(request.typed[name] or "").strip()}
        repeats = {REPEATS: str(settings[REPEATS])} if REPEATS in settings else {}
        shown: FormValues = {**request.typed, **accepted, **repeats}
        notice = repeats_message(kohya, shown[REPEATS])
        if notice and shown[REPEATS] != request.typed[REPEATS]:
            notice += f" It was {request.typed[REPEATS]}."
        unusable = next((folder for name in request.details.folders if (folder := kohya_folder(name)) and not folder.num_repeats), None)
        if unusable is not None:
            notice = out_of_range_message(unusable)
        return replace(self._saved(request, shown), notice=notice or None)

    def start(self, request: FormRequest) -> FormAnswer:
        """Start the training that the form describes, or report beside the fields what prevents it."""
        state, planned = self._plan(request, request.source, request.typed, pressed=True)
        if slug := self._start.first_press(request, planned.plan):  # the page did not have the answer to it yet
            return started(slug, replace(unchanged(request), checks=planned.checks))
        answer = self._written(request, state, request.typed, planned)
        if planned.checks.errors or any(line.level is Level.ERROR for line in planned.checks.lines):
            return answer
        return self._start.start(request, planned.plan, answer)

    def open(self, request: FormRequest) -> FormAnswer:
        """Fill the form with a run's settings and images. What was typed or uploaded and not started is discarded only if the event allows it."""
        may_discard = request.details.replace
        if self._drafts.of(request).read_form() is not None and not may_discard:
            return replace(unchanged(request), draft=True)
        try:
            run = self._outputs.run(request.details.slug)
            state = read_state(run)
        except FluxGymError:  # the run's page reports what is wrong
            return unchanged(request)
        message = self._drafts.clear(request, images=may_discard, run=run.slug)
        answer = self._filled(request, state, run.slug)
        return replace(answer, message=message or answer.message)

    def _existing(self, source: str) -> str:
        """Return a source that is still there, "" for one that is not."""
        try:
            return source if source and self._outputs.run(source).dataset.is_dir() else ""
        except FluxGymError:
            return ""


def unchanged(request: FormRequest) -> FormAnswer:
    """Return the answer that leaves the fields and the images as they are."""
    return FormAnswer(request=request.number, kind=request.kind, patch={}, source=(request.source, request.source))


def patched(request: FormRequest, shown: FormValues) -> FormAnswer:
    """Return the answer after which the fields show these values, with [value sent, new value] of each field that changes."""
    sent = request.typed
    patch = {name: (sent[name], shown[name]) for name in NAMES if _content(sent[name]) != _content(shown[name])}
    return replace(unchanged(request), patch=patch)


def _model(shown: FormValues) -> str | None:
    """Return the base model that the fields show, None while none is chosen."""
    model = shown["base_model"]
    return model if isinstance(model, str) else None


def _content(value: FieldValue) -> FieldValue:
    """Return a value as it is compared: an empty field is sent as None or ""."""
    return "" if value is None else value


def to_json(answer: FormAnswer) -> JsonObject:
    """Return an answer as JSON, as types.js describes it: the checks' fields beside the others, without those that are null."""
    fields: JsonObject = FORM_ANSWER.dump_python(answer, mode="json")
    fields |= fields.pop("checks") or {}
    return {name: value for name, value in fields.items() if value is not None}


def _not_shown(labels: list[str]) -> str | None:
    """Return a message that names the fields that could not get their earlier values, None if there are none."""
    if not labels:
        return None
    values = "value" if len(labels) == 1 else "values"
    return f"The saved {values} of {', '.join(sorted(labels))} cannot be shown in the form. Check before you start."

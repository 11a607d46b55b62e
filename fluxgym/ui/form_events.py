"""The form's own events: opened, typed in, another model chosen, Start pressed, a run's settings asked for.

All of them only read files and keep the draft, but Start: it answers once the run's supervisor watches, so that whatever stands in the way
can stand beside its field. That takes as long as linking the images, hashing the checkpoint that is named, and a process's start.
What is typed is kept in the browser's draft with each answer; a start turns the draft into a run.
"""

import json
import logging
import time
from collections.abc import Mapping
from typing import Any, cast

import gradio as gr

from fluxgym.app_settings import Settings
from fluxgym.config.settings import SETTINGS, STATE_KEYS
from fluxgym.engines.registry import is_executing
from fluxgym.errors import FluxGymError, NameTaken
from fluxgym.models.catalog import default_model
from fluxgym.planning.plan import TrainingPlan
from fluxgym.runs.paths import OutputsPaths
from fluxgym.runs.state import read_state, timestamp_of
from fluxgym.sessions.drafts import Draft, open_draft
from fluxgym.sessions.index import SessionIndex
from fluxgym.sessions.listing import last_session
from fluxgym.sessions.preconditions import first_free_run
from fluxgym.sessions.start import IfExists, start_plan
from fluxgym.ui import form_values
from fluxgym.ui.api.images import ImageHandlers
from fluxgym.ui.api.responses import JsonObject
from fluxgym.ui.api.sessions import resume_button
from fluxgym.ui.api.templates import TemplateHandlers
from fluxgym.ui.form import NAMES
from fluxgym.ui.form_reply import Form, Reply
from fluxgym.ui.form_values import State, Typed

logger = logging.getLogger(__name__)
Outputs = list[Any]
TWICE_S = 10.0


class TrainingHandlers:
    """Answers the form. Every handler takes (draft id, source, the fields in the table's order), Start also the GPU that was chosen."""

    def __init__(self, settings: Settings, images: ImageHandlers, index: SessionIndex, templates: TemplateHandlers) -> None:
        self._settings = settings
        self._outputs = OutputsPaths(settings.outputs)
        self._images = images
        self._index = index
        self._templates = templates
        self._form = Form(settings)

    def restore(self, draft_id: str, viewed: str | None, unsent: str | None) -> Outputs:
        """Fill the form of a page that opens: this browser's draft, else its last viewed run, else the newest, else the defaults."""
        draft = self._draft(draft_id)
        kept = _loaded(unsent) or draft.read_form()  # what the browser still holds was typed after the draft was written
        if kept is not None:
            return self._filled(draft, _mapping(kept.get("state")), self._existing(kept.get("source")), typed=True)
        run = last_session(self._outputs, self._index, viewed)
        try:
            state = read_state(run) if run is not None else None
        except FluxGymError:
            state = None
        if run is None or state is None:
            return self._filled(draft, self._form.defaults(self._default_model()), "")
        return self._filled(draft, state, run.slug)

    def _default_model(self) -> str:
        """Return the model of an empty form, "" while models.yaml is damaged; the checks report that."""
        try:
            return default_model(self._settings.models)
        except FluxGymError:
            return ""

    def _filled(self, draft: Draft, state: Mapping[str, Any], source: str, *, typed: bool = False) -> Outputs:
        """Return draft id, source, base model, all fields, the gallery and the answer for a state."""
        shown = form_values.from_state(state)
        answer = self._answer(draft.id, source, shown)[1]
        return [draft.id, source, *_fields(shown), {"source": source, "again": True}, answer | {"draft": typed}]

    def _answer(self, draft_id: str, source: str, typed: Typed) -> tuple[State, JsonObject]:
        state, reply = self._reply(draft_id, source, typed)
        return state, reply.answer

    def _reply(self, draft_id: str, source: str, typed: Typed, *, pressed: bool = False) -> tuple[State, Reply]:
        state, errors = form_values.to_state(typed)
        state = self._form.explicit(state)
        folder = self._images.folder(draft_id, self._existing(source))
        return state, self._form.reply(state, errors, folder.path, pressed=pressed)

    def changed(self, name: str, draft_id: str, source: str, *typed: Any) -> Outputs:
        """Keep what is typed and answer to it; the browser holds it under `name` until then."""
        draft = self._draft(draft_id)
        state, answer = self._answer(draft.id, source, form_values.by_name(typed))
        answer = self._kept(draft, state, source, answer)
        return [draft.id, answer | ({"kept": name} if answer["draft"] else {})]

    def _kept(self, draft: Draft, state: State, source: str, answer: JsonObject) -> JsonObject:
        """Write the draft. If that fails, the answer has the reason, and the browser keeps what was typed."""
        try:
            draft.write_form({"state": state, "source": source})
        except FluxGymError as error:
            return answer | {"message": str(error), "draft": False}
        return answer | {"draft": True}

    def choose_model(self, draft_id: str, source: str, before: str, *typed: Any) -> Outputs:
        """Bring another model's defaults into the fields that still show those of the model before."""
        draft = self._draft(draft_id)
        state, _ = form_values.to_state(form_values.by_name(typed))
        shown = form_values.from_state(self._form.with_other_model(state, before))
        state, answer = self._answer(draft.id, source, shown)
        return [*_fields(shown), self._kept(draft, state, source, answer)]

    def fresh(self, draft_id: str) -> Outputs:
        """Empty the form for another training: the defaults, no images. Runs are not touched."""
        draft = self._draft(draft_id)
        message = _clear_draft(draft)
        *fields, answer = self._filled(draft, self._form.defaults(self._default_model()), "")
        return [*fields, answer | message]

    def apply_template(self, draft_id: str, source: str, event: gr.EventData, *typed: Any) -> Outputs:
        """Fill the fields with a template; the LoRA's name, and a trigger that is there, stay."""
        draft = self._draft(draft_id)
        before = form_values.by_name(typed)
        shown = self._templates.applied(str(getattr(event, "name", "")), before) or before
        state, answer = self._answer(draft.id, source, shown)
        return [*_fields(shown), self._kept(draft, state, source, answer)]

    def images_changed(self, draft_id: str, event: gr.EventData, *typed: Any) -> Outputs:
        """Answer images that were added, removed or captioned.

        The example's name and trigger fill these fields if they are empty. Otherwise both stay untouched: the user may have typed since.
        """
        source = str(getattr(event, "source", "") or "")
        filled = form_values.by_name(typed)
        proposals = {"lora_name": getattr(event, "name", None), "concept_sentence": getattr(event, "trigger", None)}
        accepted = {name: str(value) for name, value in proposals.items() if value and not str(filled[name] or "").strip()}
        answer = self.changed("", draft_id, source, *form_values.in_order(filled | accepted))[1]
        return [source, *(accepted.get(name, gr.skip()) for name in proposals), answer]

    def start(self, draft_id: str, source: str, *typed: Any) -> Outputs:
        """Start the training that the form describes, or say beside the fields what stands in the way."""
        return self._start(draft_id, source, list(typed), None)

    def choose(self, draft_id: str, source: str, event: gr.EventData, *typed: Any) -> Outputs:
        """Start with the answer to "this name is taken"."""
        chosen = getattr(event, "if_exists", None)
        known = chosen if chosen in ("resume", "new", "replace") else None
        return self._start(draft_id, source, list(typed), cast(IfExists | None, known))

    def _start(self, draft_id: str, source: str, given: Outputs, if_exists: IfExists | None) -> Outputs:
        draft, (*fields, chosen) = self._draft(draft_id), given
        typed, gpus = form_values.by_name(fields), str(chosen or "") or None
        state, reply = self._reply(draft.id, source, typed, pressed=True)
        planned, answer = reply.planned, reply.answer
        if if_exists is None and (slug := self._recent_duplicate(planned)):  # a second press, before the page had the first one's answer
            return _started(slug, answer)
        answer = self._kept(draft, state, source, answer)
        if answer["errors"] or any(line["level"] == "error" for line in answer["lines"]):
            return [source, gr.skip(), answer]
        try:
            run = start_plan(planned, self._settings, if_exists=if_exists, gpus=gpus)
        except NameTaken:
            if if_exists is None and (slug := self._recent_duplicate(planned)):
                return _started(slug, answer)
            return [source, gr.skip(), answer | {"taken": self._choice(planned.run.slug)}]
        except FluxGymError as error:
            return [source, gr.skip(), _refused(answer, error)]
        if if_exists != "resume":  # a resumed run has its own settings and images; what was typed is not in it
            _clear_draft(draft, images=not source)
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
        resuming = resume_button(self._outputs.run(slug))
        sentence = f"A training named {slug} exists already. It stays as it is until you choose:"
        return {
            "sentence": sentence,
            "resume": resuming and resuming["label"],
            "new": f"Start as {version}",
            "replace": None if is_executing(self._outputs.run(slug)) else f"Replace {slug}",
        }

    def open(self, draft_id: str, event: gr.EventData) -> Outputs:
        """Fill the form with a run's settings and images; unsaved input and images are discarded only if the event has replace=True."""
        draft, replace = self._draft(draft_id), bool(getattr(event, "replace", False))
        if draft.read_form() is not None and not replace:
            return [gr.skip()] * (len(NAMES) + 5)
        try:
            run = self._outputs.run(str(getattr(event, "slug", "")))
            state = read_state(run)
        except FluxGymError:  # its page says what is wrong with it
            return [gr.skip()] * (len(NAMES) + 5)
        message = _clear_draft(draft, images=replace)
        *fields, answer = self._filled(draft, state, run.slug)
        return [*fields, answer | message]

    def _draft(self, draft_id: str) -> Draft:
        return open_draft(self._settings.outputs, draft_id or "")

    def _existing(self, source: object) -> str:
        """Return a source that is still there, "" for one that is not."""
        try:
            return source if isinstance(source, str) and source and self._outputs.run(source).dataset.is_dir() else ""
        except FluxGymError:
            return ""


def _clear_draft(draft: Draft, *, images: bool = True) -> JsonObject:
    """Clear a draft, with its images if requested; return the error message for the page, or nothing if it was cleared."""
    try:
        draft.forget_form()
        if images:
            draft.forget_images()
    except (FluxGymError, OSError) as error:
        logger.warning("the draft %s was not cleared: %s", draft.id, error)
        return {"message": str(error)}
    return {}


def _fields(shown: Typed) -> Outputs:
    """Return the model that is shown, and then all fields in the table's order."""
    return [shown["base_model"], *form_values.in_order(shown)]


def _started(slug: str, answer: JsonObject) -> Outputs:
    """Answer Start with the run that it made."""
    return [slug, {"source": slug, "again": True}, answer | {"started": {"slug": slug}, "draft": False}]


def _refused(answer: JsonObject, error: FluxGymError) -> JsonObject:
    """Put a refusal beside its field, or below the checks when it is about none."""
    if error.field in SETTINGS:
        return answer | {"errors": {**answer["errors"], error.field: str(error)}}
    return answer | {"message": str(error)}


def _loaded(unsent: str | None) -> JsonObject | None:
    """Return the form that the browser could not send when it was typed, None if it cannot be read."""
    try:
        kept = json.loads(unsent or "null")
        typed = {name: value for name, value in kept["values"].items() if name in NAMES}  # another version's may be gone by now
        return {"state": form_values.to_state(form_values.from_state({}) | typed)[0], "source": kept.get("source", "")}
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}

"""The Blocks layout of the page, and the event handlers of its components."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr
from gradio.components import Component

from fluxgym.app_settings import Settings
from fluxgym.config.setting_spec import Group, Kind
from fluxgym.config.settings import SETTINGS
from fluxgym.engines.devices import num_gpus
from fluxgym.models.catalog import list_models
from fluxgym.sessions.index import SessionIndex
from fluxgym.ui.api.files import ASSETS
from fluxgym.ui.api.images import ImageHandlers
from fluxgym.ui.api.runs import RunHandlers
from fluxgym.ui.api.sessions import SessionHandlers
from fluxgym.ui.api.templates import TemplateHandlers
from fluxgym.ui.form import NAMES, component
from fluxgym.ui.form_events import TrainingHandlers

ROOT = 'new URL(window.gradio_config?.root ?? ".", location.href).pathname.replace(/\\/$/, "")'
BROWSER_STORE = f"await import(`${{{ROOT}}}/fluxgym/assets/browser_store.js`)"
OPENED = f"async () => {{ const store = {BROWSER_STORE}; return [store.draft(), store.viewed(), JSON.stringify(store.unsent())]; }}"
# The parameters of CHANGED and SETTLED are the inputs of their events in _wire, in this order.
CHANGED = (
    f"async (unsent, draft, source, ...fields) => {{ const store = {BROWSER_STORE}; const names = {json.dumps(NAMES)}; "
    "const values = Object.fromEntries(names.map((name, index) => [name, fields[index]])); "
    "return [store.keepUnsent(values, source), draft, source, ...fields]; }"
)
SETTLED = (
    f"async (draft, source, ...more) => {{ const images = await import(`${{{ROOT}}}/fluxgym/assets/images.js`); "
    "return [draft, await images.settled(source), ...more]; }"
)
ServerFunction = Callable[[Any], dict[str, Any]]


def js_component(
    name: str, *, value: Any = None, server: tuple[ServerFunction, ...] = (), events: tuple[str, ...] = (), elem_id: str | None = None
) -> gr.HTML:
    """Add the component that assets/<name>.js renders; `events` are the events that its script may trigger."""
    script = (
        f"import(`${{{ROOT}}}/fluxgym/assets/{name}.js`).then((part) => part.mount({{ element, trigger, props, watch, server }}));\n"
        f"// events: {', '.join(repr(event) for event in events)}"
    )
    return gr.HTML(
        value=value,
        html_template="",
        js_on_load=script,
        server_functions=[_as_function(function) for function in server] or None,
        apply_default_css=False,
        elem_id=elem_id,
    )


def _as_function(function: ServerFunction) -> ServerFunction:
    """Wrap a method in a function, because Gradio sets an attribute on server functions, which methods do not allow."""

    def served(data: Any = None) -> dict[str, Any]:
        return function(data)

    served.__name__ = function.__name__
    return served


def head(root_path: str = "") -> str:
    """Return the HTML of the page's head: the style sheet inline, and preload links for the scripts."""
    style = (ASSETS / "page.css").read_text(encoding="utf-8")
    scripts = "".join(
        f'<link rel="modulepreload" href="{root_path}/fluxgym/assets/{script.name}">' for script in sorted(ASSETS.glob("*.js"))
    )
    return f"<style>{style}</style>{scripts}"


def add_notices() -> gr.HTML:
    """Add the list of notices, hidden while it is empty."""
    markup = '<details id="fg-notices" class="fg-notices" hidden><summary>Notices</summary><ul></ul></details>'
    return gr.HTML(markup, js_on_load=None, apply_default_css=False)


def add_navigation() -> gr.HTML:
    """Add the navigation (Train, Run) and the machine line."""
    return js_component("router", elem_id="fg-navigation")


def add_sessions(handlers: SessionHandlers) -> gr.HTML:
    """Add "Active Training Sessions"; its `open` event fills the form with the settings of a run."""
    return js_component("sessions", server=(handlers.sessions, handlers.act, handlers.sweep), events=("open",), elem_id="fg-banner")


def add_run_page(sessions: SessionHandlers, runs: RunHandlers, images: ImageHandlers) -> gr.HTML:
    """Add the Run page; its `open` event fills the form with the run's settings and discards unsaved changes."""
    with gr.Column(elem_id="fg-run"):
        return js_component("run_page", server=(runs.run_view, sessions.act, images.unsaved_changes), events=("open",))


@dataclass(frozen=True, kw_only=True)
class TrainPage:
    """The page's components: the fields by name, the images, the reply to the form, and Start."""

    fields: dict[str, Any]  # components; each kind has events of its own
    images: gr.HTML
    answer: gr.HTML
    start: gr.Button
    templates: gr.HTML
    gpus: gr.Dropdown


def add_train_page(models: list[tuple[str, str]], images: ImageHandlers, templates: TemplateHandlers, num_gpus: int) -> TrainPage:
    """Add the three steps; `models` are (title, id) pairs. The GPU can be chosen only where there are several."""
    with gr.Column(elem_id="fg-train"), gr.Row(elem_id="fg-steps"):
        with gr.Column(elem_classes="fg-step", min_width=0):
            _title(1, "LoRA")
            fields = _add_fields(Group.LORA, models)
            with gr.Accordion("Advanced options", open=False, elem_id="advanced"):
                fields |= _add_fields(Group.ADVANCED, models)
            kept = js_component(
                "templates",
                server=(*templates.server, images.unsaved_changes),
                events=("apply", "keep", "fresh"),
                value={},
                elem_id="fg-templates",
            )
        with gr.Column(elem_classes="fg-step", min_width=0):
            _title(2, "Images")
            gallery = js_component("images", server=images.server, events=("changed",), value={"source": ""}, elem_id="fg-images")
        with gr.Column(elem_classes="fg-step", min_width=0):
            _title(3, "Train")
            answer = js_component("form", events=("choose", "typed"), value={}, elem_id="fg-answer")
            gpus = gr.Dropdown(
                [("first free GPU", ""), *((f"GPU {number}", str(number)) for number in range(num_gpus))],
                value="", label="GPU", visible=num_gpus > 1, elem_id="field-gpus", elem_classes=["fg-field", "fg-kind-choice"],
            )  # fmt: skip
            start = gr.Button("Start training", variant="primary", elem_id="start")
            gr.HTML("", elem_id="fg-recipe", js_on_load=None, apply_default_css=False)
    return TrainPage(fields=fields, images=gallery, answer=answer, start=start, templates=kept, gpus=gpus)


def _title(number: int, title: str) -> None:
    heading = f'<h2><span class="fg-number" aria-hidden="true">{number}</span><span>Step {number}: {title}</span></h2>'
    gr.HTML(heading, js_on_load=None, apply_default_css=False, elem_classes="fg-title")


def _add_fields(group: Group, models: list[tuple[str, str]]) -> dict[str, Component]:
    """Add the fields of one part of the form in the table's order, those with `beside` in pairs."""
    placed: dict[str, Component] = {}
    for name, entry in SETTINGS.items():
        if entry.group is not group or name in placed:
            continue
        if entry.beside:
            with gr.Row(elem_classes="fg-pair"):
                placed[name] = component(entry)
                placed[entry.beside] = component(SETTINGS[entry.beside])
        else:
            placed[name] = component(entry, models if name == "base_model" else None)
    return placed


def build_page(settings: Settings) -> gr.Blocks:
    """Return the page."""
    index = SessionIndex(settings.outputs)
    sessions, images = SessionHandlers(settings, index), ImageHandlers(settings)
    templates = TemplateHandlers(settings)
    training = TrainingHandlers(settings, images, index, templates)
    page = gr.Blocks(title="FluxGym", analytics_enabled=False, fill_width=True)
    with page, gr.Column(elem_id="fg-app"):
        add_navigation()
        banner = add_sessions(sessions)
        tab = add_train_page([(model.title, model.id) for model in list_models(settings.models)], images, templates, num_gpus())
        run = add_run_page(sessions, RunHandlers(settings, sessions), images)
        add_notices()
        _wire(page, tab, (banner, run), training, templates)
    return page


def _wire(
    page: gr.Blocks, tab: TrainPage, openers: tuple[gr.HTML, gr.HTML], training: TrainingHandlers, templates: TemplateHandlers
) -> None:
    """Connect the form's events; the hidden text boxes carry the browser's state and the draft's."""
    draft, source, model, viewed, unsent = (gr.Textbox(visible=False) for _ in range(5))
    fields = [tab.fields[name] for name in NAMES]
    quiet: dict[str, Any] = {"show_progress": "hidden", "queue": False, "api_visibility": "private"}
    typed, everything = [draft, source, *fields], [draft, source, model, *fields, tab.images, tab.answer]
    page.load(training.restore, [draft, viewed, unsent], everything, js=OPENED, **quiet)
    chosen = [field.input for name, field in tab.fields.items() if SETTINGS[name].kind is Kind.CHOICE and name != "base_model"]
    for listen in (tab.answer.typed, partial(gr.on, chosen)):
        listen(training.changed, [unsent, *typed], [draft, tab.answer], js=CHANGED, trigger_mode="always_last", **quiet)
    tab.fields["base_model"].input(
        training.choose_model, [draft, source, model, *fields], [model, *fields, tab.answer], trigger_mode="always_last", **quiet
    )
    named = [tab.fields["lora_name"], tab.fields["concept_sentence"]]
    tab.images.changed(training.images_changed, [draft, *fields], [source, *named, tab.answer], trigger_mode="always_last", **quiet)
    tab.templates.apply(training.apply_template, typed, [model, *fields, tab.answer], **quiet)
    tab.templates.keep(templates.save, fields, tab.templates, **quiet)
    begin = [*typed, tab.gpus]
    tab.start.click(training.start, begin, [source, tab.images, tab.answer], js=SETTLED, trigger_mode="once", **quiet)
    tab.answer.choose(training.choose, begin, [source, tab.images, tab.answer], trigger_mode="once", **quiet)
    tab.templates.fresh(training.fresh, [draft], everything, **quiet)
    for part in openers:
        part.open(training.open, [draft], everything, **quiet)

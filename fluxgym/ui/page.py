"""The Blocks layout of the page, and the events of the form."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.blocks import Block
from gradio.components import Component

from fluxgym.app_settings import Settings
from fluxgym.config.setting_spec import Group, SettingType
from fluxgym.config.settings import SETTINGS
from fluxgym.contract.dataset_rules import IMAGE_EXTENSIONS
from fluxgym.dataset.example import NUM_IMAGES
from fluxgym.engines.base import Engine
from fluxgym.engines.registry import engine_for
from fluxgym.models.catalog import list_models
from fluxgym.runs.paths import OutputsPaths
from fluxgym.sessions.transfer import IMPORT_EXTENSIONS
from fluxgym.ui.api.answers import FormSetup, ImagesSetup, RunsSetup
from fluxgym.ui.api.assets import ASSETS
from fluxgym.ui.api.responses import JsonObject
from fluxgym.ui.form import APPLY_PATCH, NAMES, component, describe_settings, rows_of
from fluxgym.ui.form_events import FormEvents, to_json
from fluxgym.ui.form_request import FormRequest
from fluxgym.ui.page_scripts import PageScripts

MAX_SESSIONS = (
    8  # Gradio keeps a copy of all components, 120 kB, per page that was loaded; the form needs none of it, each event sends all fields
)
QUEUE_POLL_S = 1.0  # Gradio polls its queue every millisecond and the progress of its jobs every ten, which takes 5 to 8 % of a core
IMAGES = ImagesSetup(file_types=",".join((*IMAGE_EXTENSIONS, ".txt")), page_size=12, wide_page_size=24, num_example=NUM_IMAGES)
RUNS = RunsSetup(import_types=",".join(IMPORT_EXTENSIONS), page_size=25)


@dataclass(frozen=True, kw_only=True)
class TrainPage:
    """The form's components: its fields by name, the GPU, and the element whose value is the latest answer to the form."""

    fields: dict[str, Component]
    gpus: gr.Dropdown
    form: gr.HTML


def add_train_page(scripts: PageScripts, models: list[tuple[str, str]], engine: Engine) -> TrainPage:
    """Add the three steps and Advanced; `models` are (title, id) pairs. The GPU can be chosen only where there are several."""
    with gr.Column(elem_id="fg-train", min_width=0):
        scripts.add_module("welcome", IMAGES)
        with gr.Column(elem_id="fg-steps", elem_classes="steps", min_width=0):
            with gr.Column(elem_classes=["card", "one"], min_width=0):
                scripts.add_module("form_menu")
                with gr.Column(elem_classes=["body", "stack"], min_width=0):
                    fields = _add_fields(Group.LORA, models)
            with gr.Column(elem_classes="two", min_width=0):
                scripts.add_module("images", IMAGES)
            form, gpus = _add_train_column(scripts, engine)
            fields |= _add_advanced(scripts, models)
    return TrainPage(fields=fields, gpus=gpus, form=form)


def _add_train_column(scripts: PageScripts, engine: Engine) -> tuple[gr.HTML, gr.Dropdown]:
    num_gpus = engine.devices.num_gpus()
    with gr.Column(elem_classes=["card", "three"], min_width=0):
        title = '<span class="num" aria-hidden="true">3</span><span class="vh">Step 3: </span>Train'
        _slot("fg-step-3", f'<header class="card-head"><h2>{title}</h2></header>')
        with gr.Column(elem_classes=["body", "stack"], min_width=0):
            setup = FormSetup(settings=describe_settings(), num_devices=len(engine.devices.names()))
            form = scripts.add_module("train_column", setup)
            gpus = gr.Dropdown(
                [("first free GPU", ""), *((f"GPU {number}", str(number)) for number in range(num_gpus))],
                value="", label="GPU", visible=num_gpus > 1, filterable=False, elem_id="field-gpus", elem_classes=["fg-field", "fg-kind-choice"],
            )  # fmt: skip
            gr.Button("Start training", variant="primary", elem_id="start", elem_classes=["btn", "big", "wide"])
            _slot("fg-recipe")
    return form, gpus


def _add_advanced(scripts: PageScripts, models: list[tuple[str, str]]) -> dict[str, Component]:
    """Add the card whose fields are always there; advanced.js folds it. A closed gr.Accordion would have no fields to read and fill."""
    with gr.Column(elem_classes=["card", "adv"], elem_id="advanced", min_width=0):
        scripts.add_module("advanced")
        with gr.Column(elem_id="fg-advanced-content", elem_classes="body", min_width=0):
            _slot("fg-advanced-tools")
            with gr.Column(elem_classes="adv-body", min_width=0):
                _slot("fg-advanced-groups")
                with gr.Column(elem_classes="adv-grid", min_width=0):
                    return _add_fields(Group.ADVANCED, models)


def _slot(elem_id: str, html: str = "") -> None:
    """Add an element with HTML of ours, or for a script to fill."""
    gr.HTML(html, js_on_load=None, apply_default_css=False, elem_id=elem_id)


def _add_fields(group: Group, models: list[tuple[str, str]]) -> dict[str, Component]:
    """Add the fields of one part of the form in the table's order, those with `beside` in pairs."""
    placed: dict[str, Component] = {}
    for entry in rows_of(group):
        name = entry.name
        if name in placed:
            continue
        if entry.beside:
            with gr.Column(elem_classes="fg-pair", min_width=0):
                placed[name] = component(entry)
                placed[entry.beside] = component(SETTINGS[entry.beside])
        else:
            placed[name] = component(entry, models if name == "base_model" else None)
    return placed


def build_page(settings: Settings, events: FormEvents, scripts: PageScripts) -> gr.Blocks:
    """Return the page."""
    page = gr.Blocks(title="FluxGym", analytics_enabled=False, fill_width=True)
    page.state_session_capacity = MAX_SESSIONS
    queue = page._queue  # private: Gradio has no option for it, and no event of the page is queued
    queue.sleep_when_free = queue.progress_update_sleep_when_free = QUEUE_POLL_S
    with page, gr.Column(elem_id="fg-app"):
        _slot(
            "fg-sprite", (ASSETS / "icons.svg").read_text(encoding="utf-8-sig")
        )  # in the page: from a file, each new icon is fetched again
        scripts.add_module("navigation")
        scripts.add_module("banner", RUNS)
        train = add_train_page(
            scripts, [(model.title, model.id) for model in list_models(settings.models)], engine_for(OutputsPaths(settings.outputs))
        )
        scripts.add_module("runs", RUNS)
        scripts.add_module("run_page")
        scripts.add_module("notices")
        _wire(train, events, scripts)
    return page


def sent_form(event: gr.EventData) -> object:
    """Return what form.js sent with an event, None if another program sent something else."""
    try:
        return event.form
    except (AttributeError, TypeError):
        return None


def _wire(train: TrainPage, events: FormEvents, scripts: PageScripts) -> None:
    """Connect the form's events. form.js triggers them: `input` to save what is typed in the browser, `select` to send an event to the app."""
    fields = [train.fields[name] for name in NAMES]

    def respond(values: Mapping[Component, Any], event: gr.EventData) -> JsonObject:
        typed = {name: values[field] for name, field in train.fields.items()}
        return to_json(events.respond(FormRequest.from_event(sent_form(event), typed, values[train.gpus])))

    quiet: dict[str, Any] = {"show_progress": "hidden", "queue": False, "api_visibility": "private"}
    apply: dict[str, Any] = {"inputs": [train.form, *fields], "outputs": fields, "js": APPLY_PATCH} | quiet
    inputs: set[Block] = {*fields, train.gpus}
    for name, field in train.fields.items():  # choices have no DOM event that bubbles; form.js listens to the others
        if SETTINGS[name].type is SettingType.CHOICE:
            edited = "model" if name == "base_model" else "typed"
            field.input(None, None, None, js=f"async () => {{ (await {scripts.imported('form')}).edited('{edited}'); }}", **quiet)  # type: ignore[attr-defined]
    train.form.input(None, fields, None, js=scripts.save_unsent(), **quiet)
    train.form.select(respond, inputs, train.form, trigger_mode="multiple", **quiet).then(None, **apply)

"""Assembles the page: places its parts, and says which event goes to which handler. Does nothing else."""

from functools import partial
from typing import Any

import gradio as gr

from fluxgym.launch.devices import num_gpus
from fluxgym.models.catalog import list_models
from fluxgym.sessions.index import SessionIndex
from fluxgym.settings import Settings
from fluxgym.ui.banner import place_navigation, place_sessions
from fluxgym.ui.fields import BY_NAME, NAMES
from fluxgym.ui.handlers.pictures import PictureHandlers
from fluxgym.ui.handlers.run_view import RunHandlers
from fluxgym.ui.handlers.sessions import SessionHandlers
from fluxgym.ui.handlers.templates import TemplateHandlers
from fluxgym.ui.handlers.training import TrainingHandlers
from fluxgym.ui.part import CHANGED, OPENED, SETTLED, place_notices
from fluxgym.ui.run_tab import place_run
from fluxgym.ui.train_tab import TrainTab, place_train


def build_page(settings: Settings) -> gr.Blocks:
    """Return the page for these folders."""
    index = SessionIndex(settings.outputs)
    sessions, pictures = SessionHandlers(settings, index), PictureHandlers(settings)
    templates = TemplateHandlers(settings)
    training = TrainingHandlers(settings, pictures, index, templates)
    page = gr.Blocks(title="FluxGym", analytics_enabled=False, fill_width=True)
    with page, gr.Column(elem_id="fg-app"):
        place_navigation()
        banner = place_sessions(sessions)
        tab = place_train([(model.title, model.id) for model in list_models(settings.models)], pictures, templates, num_gpus())
        run = place_run(sessions, RunHandlers(settings, sessions), pictures)
        place_notices()
        _wire(page, tab, (banner, run), training, templates)
    return page


def _wire(
    page: gr.Blocks, tab: TrainTab, openers: tuple[gr.HTML, gr.HTML], training: TrainingHandlers, templates: TemplateHandlers
) -> None:
    """Connect the form's events; the browser's own memory travels in the two unseen fields and in `viewed` and `unsent`."""
    draft, source, model, viewed, unsent = (gr.Textbox(visible=False) for _ in range(5))
    fields = [tab.fields[name] for name in NAMES]
    quiet: dict[str, Any] = {"show_progress": "hidden", "queue": False, "api_visibility": "private"}
    typed, everything = [draft, source, *fields], [draft, source, model, *fields, tab.pictures, tab.answer]
    page.load(training.restore, [draft, viewed, unsent], everything, js=OPENED, **quiet)
    chosen = [field.input for name, field in tab.fields.items() if BY_NAME[name].kind == "choice" and name != "base_model"]
    for listen in (tab.answer.typed, partial(gr.on, chosen)):
        listen(training.changed, [unsent, *typed], [draft, tab.answer], js=CHANGED, trigger_mode="always_last", **quiet)
    tab.fields["base_model"].input(
        training.choose_model, [draft, source, model, *fields], [model, *fields, tab.answer], trigger_mode="always_last", **quiet
    )
    named = [tab.fields["lora_name"], tab.fields["concept_sentence"]]
    tab.pictures.changed(training.pictures_changed, [draft, *fields], [source, *named, tab.answer], trigger_mode="always_last", **quiet)
    tab.templates.apply(training.apply_template, typed, [model, *fields, tab.answer], **quiet)
    tab.templates.keep(templates.keep, fields, tab.templates, **quiet)
    begin = [*typed, tab.gpus]
    tab.start.click(training.start, begin, [source, tab.pictures, tab.answer], js=SETTLED, trigger_mode="once", **quiet)
    tab.answer.choose(training.choose, begin, [source, tab.pictures, tab.answer], trigger_mode="once", **quiet)
    tab.templates.fresh(training.fresh, [draft], everything, **quiet)
    for part in openers:
        part.open(training.open, [draft], everything, **quiet)

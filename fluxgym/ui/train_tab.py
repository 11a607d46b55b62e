"""The Train page: three steps, side by side where there is room. Places the components and names them; what they do is in handlers/."""

from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.components import Component

from fluxgym.ui.fields import FIELDS, component
from fluxgym.ui.handlers.pictures import PictureHandlers
from fluxgym.ui.handlers.templates import TemplateHandlers
from fluxgym.ui.part import part


@dataclass(frozen=True, kw_only=True)
class TrainTab:
    """The page's components: the fields by name, the pictures, what the form answers, and Start."""

    fields: dict[str, Any]  # components; each kind has events of its own
    pictures: gr.HTML
    answer: gr.HTML
    start: gr.Button
    templates: gr.HTML
    gpus: gr.Dropdown


def place_train(models: list[tuple[str, str]], pictures: PictureHandlers, templates: TemplateHandlers, num_gpus: int) -> TrainTab:
    """Place the three steps; `models` are the base models as (title, id). Which GPU is asked only where there are several."""
    with gr.Column(elem_id="fg-train"), gr.Row(elem_id="fg-steps"):
        with gr.Column(elem_classes="fg-step", min_width=0):
            _title(1, "LoRA")
            fields = _place_fields("lora", models)
            with gr.Accordion("Advanced options", open=False, elem_id="advanced"):
                fields |= _place_fields("advanced", models)
            kept = part(
                "templates", server=(*templates.server, pictures.held), events=("apply", "keep", "fresh"), value={}, elem_id="fg-templates"
            )
        with gr.Column(elem_classes="fg-step", min_width=0):
            _title(2, "Pictures")
            gallery = part("pictures", server=pictures.server, events=("changed",), value={"source": ""}, elem_id="fg-pictures")
        with gr.Column(elem_classes="fg-step", min_width=0):
            _title(3, "Train")
            answer = part("form", events=("choose", "typed"), value={}, elem_id="fg-answer")
            gpus = gr.Dropdown(
                [("the first free one", ""), *((f"GPU {number}", str(number)) for number in range(num_gpus))],
                value="", label="GPU", visible=num_gpus > 1, elem_id="field-gpus", elem_classes=["fg-field", "fg-kind-choice"],
            )  # fmt: skip
            start = gr.Button("Start training", variant="primary", elem_id="start")
            gr.HTML("", elem_id="fg-recipe", js_on_load=None, apply_default_css=False)
    return TrainTab(fields=fields, pictures=gallery, answer=answer, start=start, templates=kept, gpus=gpus)


def _title(number: int, title: str) -> None:
    heading = f'<h2><span class="fg-number" aria-hidden="true">{number}</span><span>Step {number}: {title}</span></h2>'
    gr.HTML(heading, js_on_load=None, apply_default_css=False, elem_classes="fg-title")


def _place_fields(place: str, models: list[tuple[str, str]]) -> dict[str, Component]:
    """Place the fields of one part of the form in the table's order, short ones side by side."""
    placed: dict[str, Component] = {}
    entries = {entry.name: entry for entry in FIELDS if entry.place == place}
    for name, entry in entries.items():
        if name in placed:
            continue
        if entry.beside:
            with gr.Row(elem_classes="fg-pair"):
                placed[name] = component(entry)
                placed[entry.beside] = component(entries[entry.beside])
        else:
            placed[name] = component(entry, models if name == "base_model" else None)
    return placed

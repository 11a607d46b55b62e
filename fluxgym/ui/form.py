"""The one table of the form: which setting of the training is which component of the page. What they are called is in config/labels.py.

`name` is the key of ui_state.json, or of its `advanced` part when `is_advanced`; order in the
table is order on the page, and nothing else depends on it, as every handler goes by name.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

import gradio as gr
from gradio.components import Component

from fluxgym.config.labels import LABELS
from fluxgym.config.train_config import TIMESTEP_SAMPLINGS
from fluxgym.config.vram_tiers import DESCRIPTIONS, TIERS

Kind = Literal["text", "lines", "number", "choice", "radio", "check"]


@dataclass(frozen=True, kw_only=True)
class Field:
    """A setting and how it stands on the page.

    `flag` is kohya's name for it, `help` is shown when the pointer rests on it, `beside` is the field that stands on its right;
    `labels` are the choices' words, in their order, where those do not say enough.
    """

    name: str
    kind: Kind
    place: Literal["lora", "advanced"]
    help: str
    flag: str = ""
    choices: tuple[str, ...] = field(default=())
    labels: tuple[str, ...] = field(default=())
    placeholder: str = ""
    is_advanced: bool = False
    beside: str = ""

    @property
    def label(self) -> str:
        """Return what the field is called."""
        return LABELS[self.name]

    @property
    def elem_id(self) -> str:
        """Return the id of the field's element in the page."""
        return f"field-{self.name}"


SCHEDULERS = (
    "constant", "constant_with_warmup", "linear", "cosine", "cosine_with_restarts", "polynomial",
)  # fmt: skip
OTHER_FLAGS = "other_flags"

FIELDS: tuple[Field, ...] = (
    Field(
        name="lora_name", kind="text", place="lora", placeholder="my-cat-lora", flag="--output_name",
        help="The folder under outputs/ and the LoRA file are named after it.",
    ),
    Field(
        name="concept_sentence", kind="text", place="lora", placeholder="sks cat",
        help="The words that call up what the LoRA has learnt. They stand at the start of each new caption.",
    ),
    Field(name="base_model", kind="choice", place="lora", help="The FLUX model that the LoRA is trained for."),
    Field(
        name="vram", kind="radio", place="lora", choices=tuple(TIERS),
        labels=tuple(f"{tier} · {DESCRIPTIONS[tier]}" for tier in TIERS),
        help="How much memory of the GPU the training may use, and what it does to stay within it.",
    ),
    Field(
        name="num_repeats", beside="max_train_epochs", kind="number", place="lora", flag="num_repeats",
        help="How often each image is seen in an epoch.",
    ),
    Field(
        name="max_train_epochs", kind="number", place="lora", flag="--max_train_epochs",
        help="How often the whole data set is gone through.",
    ),
    Field(
        name="sample_prompts", kind="lines", place="lora", flag="--sample_prompts",
        placeholder="the trigger word, until you write something else",
        help="Images drawn while training. kohya's options work: --w width --h height --d seed --s steps --g guidance --l CFG --n negative prompt.",
    ),
    Field(
        name="sample_every_n_steps", beside="resolution", kind="number", place="lora", flag="--sample_every_n_steps",
        help="0 draws no sample images.",
    ),
    Field(
        name="resolution", kind="number", place="lora", flag="resolution",
        help="Images are trained at about this many pixels a side.",
    ),
    Field(
        name="enable_checkpointing", kind="check", place="advanced", flag="--save_state",
        help="Keeps the whole state of the training at each save, so that it can go on from there. Stop saves a state in any case.",
    ),
    Field(
        name="enable_monitoring", kind="check", place="advanced",
        help="Writes what the watching process sees to monitor.log.",
    ),
    Field(
        name="resume_from_checkpoint", kind="text", place="advanced", flag="--resume", placeholder="my-cat-lora-4-state",
        help="A checkpoint folder to begin from. Empty: begin from the start.",
    ),
    Field(name="seed", beside="workers", kind="number", place="advanced", flag="--seed", help="The same seed gives the same training."),
    Field(
        name="workers", kind="number", place="advanced", flag="--max_data_loader_n_workers",
        help="Processes that load images beside the training.",
    ),
    Field(
        name="learning_rate", beside="save_every_n_epochs", kind="text", place="advanced", flag="--learning_rate", placeholder="8e-4",
        help="How far each step moves the LoRA's weights.",
    ),
    Field(
        name="save_every_n_epochs", kind="number", place="advanced", flag="--save_every_n_epochs",
        help="How often a LoRA file is kept along the way.",
    ),
    Field(
        name="timestep_sampling", beside="guidance_scale", kind="choice", place="advanced", flag="--timestep_sampling",
        choices=TIMESTEP_SAMPLINGS, help="Which noise levels are trained more often.",
    ),
    Field(
        name="guidance_scale", kind="number", place="advanced", flag="--guidance_scale",
        help="The embedded guidance that FLUX.1-dev is trained with; 1.0 as a rule.",
    ),
    Field(
        name="network_dim", beside="network_alpha", kind="number", place="advanced", flag="--network_dim",
        help="How much the LoRA can hold; its file grows with it.",
    ),
    Field(
        name="network_alpha", kind="number", place="advanced", flag="--network_alpha", is_advanced=True,
        help="Scales the LoRA by alpha / rank. Empty: kohya's default of 1.",
    ),
    Field(
        name="train_batch_size", beside="save_every_n_steps", kind="number", place="advanced", flag="--train_batch_size", is_advanced=True,
        help="Images a step. Empty: 1.",
    ),
    Field(
        name="save_every_n_steps", kind="number", place="advanced", flag="--save_every_n_steps", is_advanced=True,
        help="Keeps a LoRA file, and with checkpointing a checkpoint, every so many steps. Empty: by epochs only.",
    ),
    Field(
        name="lr_scheduler", kind="choice", place="advanced", flag="--lr_scheduler", choices=("", *SCHEDULERS), is_advanced=True,
        help="How the learning rate moves along the training. Empty: what the VRAM choice brings.",
    ),
    Field(
        name="reg_data_dir", kind="text", place="advanced", flag="--reg_data_dir", is_advanced=True,
        placeholder="a folder of images with captions",
        help="Images that keep the model's other knowledge alive while it learns yours.",
    ),
    Field(
        name="enable_bucket", kind="check", place="advanced", flag="--enable_bucket", is_advanced=True,
        help="Trains wide and tall images as they are. Off: each one is cut to a square.",
    ),
    Field(
        name=OTHER_FLAGS, kind="lines", place="advanced", placeholder="max_grad_norm = 1.0\nnetwork_train_unet_only = true",
        help="Any other of kohya's flags, one a line: name = value. Each is checked by name before the training starts.",
    ),
)  # fmt: skip
BY_NAME = {entry.name: entry for entry in FIELDS}
NAMES = tuple(BY_NAME)


def component(entry: Field, choices: list[tuple[str, str]] | None = None) -> Component:
    """Make the Gradio component of a field; `choices` replaces the table's own."""
    common: dict[str, Any] = {
        "label": entry.label,
        "info": entry.flag or None,
        "elem_id": entry.elem_id,
        "elem_classes": ["fg-field", f"fg-kind-{entry.kind}"],
    }
    options = choices or list(zip(entry.labels or [choice or "(default)" for choice in entry.choices], entry.choices, strict=True))
    if entry.kind == "number":
        return gr.Number(value=None, **common)
    if entry.kind == "check":
        return gr.Checkbox(value=False, **common)
    if entry.kind == "radio":
        return gr.Radio(options, value=None, **common)
    if entry.kind == "choice":
        return gr.Dropdown(options, value=None, allow_custom_value=True, **common)
    lines: dict[str, Any] = {"lines": 2, "max_lines": 8} if entry.kind == "lines" else {"lines": 1, "max_lines": 1}
    return gr.Textbox(value="", placeholder=entry.placeholder or None, **lines, **common)

"""The answers of the JSON API: one frozen dataclass per answer. FastAPI makes the OpenAPI schema from them, and client_types.py the JavaScript types.

The answers to the form's events, and what the scripts know from the start, come through Gradio; their types are made in the same way.

Times are in seconds since the epoch. Addresses are relative to /fluxgym/. A version is a fingerprint that the page sends back, so that an
unchanged answer is not sent again. A part of an answer that is null is unchanged, or unknown where the field says so.
"""

from dataclasses import dataclass
from typing import Literal

from fluxgym.dataset.arrivals import Outcome
from fluxgym.errors import Detail, Level

FieldValue = str | bool | None  # what a field of the form holds: its text, or whether its switch is on
# The events of the form; "" stands for one that the app does not know.
FormKind = Literal[
    "restore", "typed", "model", "images", "open", "fresh", "apply_template", "save_template", "start", "reset", "put_back", "check", ""
]


@dataclass(frozen=True, kw_only=True)
class ImageItem:
    """One image of the form; version changes with the file."""

    name: str
    caption: str
    version: str
    thumb: str


@dataclass(frozen=True, kw_only=True)
class ImagePage:
    """Some images of the form, and how many there are; source is the run whose images they are, "" for the draft's own.

    shown is the number of images that match search and filter; no_trigger is the number of captions without the trigger word.
    """

    source: str
    items: list[ImageItem]
    count: int
    captioned: int
    shown: int
    no_trigger: int


@dataclass(frozen=True, kw_only=True)
class ImageNames:
    """The names of all images that match search and filter."""

    names: list[str]


@dataclass(frozen=True, kw_only=True)
class ImageCounts:
    """The number of images after a change, and how many have a caption.

    undo is the token of an edit that can be undone, changed the number of captions that an edit of several changed.
    """

    source: str
    count: int
    captioned: int
    undo: str = ""
    changed: int | None = None


@dataclass(frozen=True, kw_only=True)
class ExampleAdded:
    """The example photos are in the draft: a free LoRA name, and the trigger word of their captions."""

    source: str
    name: str
    trigger: str


@dataclass(frozen=True, kw_only=True)
class Unsaved:
    """What replacing the form's content would discard."""

    typed: bool
    images: int


@dataclass(frozen=True, kw_only=True)
class TemplateList:
    """The names of all templates."""

    templates: list[str]


@dataclass(frozen=True, kw_only=True)
class Uploaded:
    """The name that an uploaded file has here, what the upload did, and whose images the form shows now: "" for the draft's own.

    undo is the token of an edit that can be undone.
    """

    source: str
    name: str
    outcome: Outcome
    undo: str = ""


@dataclass(frozen=True, kw_only=True)
class Imported:
    """The slugs of the runs that an exported file held."""

    slugs: list[str]


@dataclass(frozen=True, kw_only=True)
class FieldText:
    """What the page shows around a field of the form: label, help, the trainer's flag, and the group in Advanced, "" for the other fields."""

    label: str
    help: str
    flag: str
    section: str


@dataclass(frozen=True, kw_only=True)
class FormSetup:
    """The data of the form's script when the page opens: the fields by name, and the number of devices.

    As many runs as devices can train at once.
    """

    settings: dict[str, FieldText]
    num_devices: int


@dataclass(frozen=True, kw_only=True)
class ImagesSetup:
    """The types of files that can be added to the form, for a file input, and the number of images per page, on a wide screen too.

    num_example is the number of example photos.
    """

    file_types: str
    page_size: int
    wide_page_size: int
    num_example: int


@dataclass(frozen=True, kw_only=True)
class RunsSetup:
    """The types of files that can be imported, for a file input, and the number of runs per page of the table."""

    import_types: str
    page_size: int


@dataclass(frozen=True, kw_only=True)
class FormLine:
    """The result of a check of the form; field is "" if it is about none.

    images is the filter that shows the images that it is about, or "unused_caption" for caption files that can be removed, and num_images
    their number; "" and 0 if it is not about some of them.
    """

    level: Level
    text: str
    field: str
    images: str = ""
    num_images: int = 0


@dataclass(frozen=True, kw_only=True)
class ChangedSetting:
    """A setting of Advanced that differs from the model's default, as the form shows both."""

    name: str
    label: str
    value: str | bool
    default: str | bool


@dataclass(frozen=True, kw_only=True)
class TakenName:
    """The choices when a run already has the LoRA name: the label of each choice, null if it is not possible.

    replace_help describes what happens to the run that is replaced.
    """

    title: str
    sentence: str
    resume: str | None
    new: str
    replace: str | None
    replace_help: str


@dataclass(frozen=True, kw_only=True)
class StartedRun:
    """The run that Start has made."""

    slug: str


@dataclass(frozen=True, kw_only=True)
class FormChecks:
    """What is shown beside the form's fields: errors by field, the lists that belong to them, the results of all checks, steps and time.

    images: the number of images that steps is computed from; steps is null if it is unknown, time "" if nothing is known about it.
    time_note: what time is based on. pressed: it answers a click on Start. checking: the trainer has not checked the settings yet that
    only it can check, which the event "check" does.
    """

    errors: dict[str, str]
    details: dict[str, tuple[Detail, ...]]
    notes: dict[str, str]
    lines: list[FormLine]
    changed: list[ChangedSetting]
    trigger: str
    images: int
    steps: int | None
    explain: str
    time: str
    time_note: str
    command: str
    toml: str
    pressed: bool
    checking: bool


@dataclass(frozen=True, kw_only=True)
class FormAnswer:
    """The answer to an event of the form (form_events.py). A part that is null does not change the page and is left out.

    request: the number of the event. kept: the number of the last edit that is saved. patch: {field: [value that was sent, new value]}.
    source: [slug that was sent, new slug] of the run whose images the form shows, "" for the draft's own. checks: null if the event does
    not check the form, and only message or notice is shown; the page gets its fields beside the others.
    """

    request: int
    kind: FormKind
    patch: dict[str, tuple[FieldValue, FieldValue]]
    source: tuple[str, str]
    kept: int | None = None
    model: str | None = None
    draft: bool | None = None
    reload_images: bool | None = None
    message: str | None = None
    notice: str | None = None
    checks: FormChecks | None = None
    taken: TakenName | None = None
    started: StartedRun | None = None

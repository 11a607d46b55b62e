"""The answers of the JSON API: one frozen dataclass per answer. FastAPI makes the OpenAPI schema from them, and client_types.py the JavaScript types.

Times are in seconds since the epoch. Addresses are relative to /fluxgym/. A version is a fingerprint that the page sends back, so that an
unchanged answer is not sent again. A part of an answer that is null is unchanged, or unknown where the field says so.
"""

from dataclasses import dataclass


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

    shown is the number of images that search and filter leave; no_trigger is the number of captions without the trigger word.
    """

    source: str
    items: list[ImageItem]
    count: int
    captioned: int
    shown: int
    no_trigger: int


@dataclass(frozen=True, kw_only=True)
class ImageNames:
    """The names of all images that search and filter leave."""

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
    """The name under which an uploaded file was saved."""

    name: str


@dataclass(frozen=True, kw_only=True)
class Imported:
    """The slugs of the runs that an exported file held."""

    slugs: list[str]

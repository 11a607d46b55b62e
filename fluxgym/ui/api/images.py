"""Routes of the form's images: pages of images, captions, edits that can be undone, the example.

A run's images are copied into the draft before the first edit.
"""

from dataclasses import dataclass
from typing import Annotated, Literal
from urllib.parse import quote

from fastapi import APIRouter, Depends, Query

from fluxgym.app_settings import Settings
from fluxgym.dataset.caches import DatasetCaches
from fluxgym.dataset.example import TRIGGER, write_example
from fluxgym.dataset.folder import ImageFolder, check_caption
from fluxgym.dataset.folder_index import Captions
from fluxgym.errors import DatasetError
from fluxgym.runs.paths import OutputsPaths
from fluxgym.sessions.draft_edits import DraftEdits
from fluxgym.sessions.drafts import Draft, open_draft
from fluxgym.sessions.preconditions import first_free_run
from fluxgym.ui.api.answers import ExampleAdded, ImageCounts, ImageItem, ImageNames, ImagePage, Unsaved
from fluxgym.ui.api.caption_changes import TextChange, added_text, changed_captions, replaced_text
from fluxgym.ui.api.responses import new_router

PAGE = 100
MAX_SEARCH = 200
EXAMPLE = "example-cat"


@dataclass(frozen=True, kw_only=True)
class CaptionRequest:
    """The new caption of an image."""

    caption: str


@dataclass(frozen=True, kw_only=True)
class NamesRequest:
    """Images by name."""

    names: list[str]


@dataclass(frozen=True, kw_only=True)
class AddTextRequest:
    """A text to add to captions, at their start or end."""

    names: list[str]
    text: str
    at: Literal["start", "end"] = "end"


@dataclass(frozen=True, kw_only=True)
class ReplaceRequest:
    """A text to replace in captions."""

    names: list[str]
    find: str
    text: str


@dataclass(frozen=True, kw_only=True)
class UndoRequest:
    """The token of an edit."""

    token: str


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which images are listed: those with a text in name or caption, and those without a caption or without the trigger word."""

    search: str = ""
    filter: Literal["", "no_caption", "no_trigger"] = ""
    trigger: str = ""

    def of(self, captions: Captions) -> list[str]:
        """Return the names of the images in order."""
        names = captions.matching(self.search[:MAX_SEARCH])
        if not self.filter:
            return names
        selected = set(captions.missing() if self.filter == "no_caption" else captions.without(self.trigger))
        return [name for name in names if name in selected]


class ImageRoutes:
    """Routes of the image grid. A request's source is the slug of the run whose images the form shows, "" for the draft's own."""

    def __init__(self, settings: Settings, caches: DatasetCaches | None = None) -> None:
        self._settings = settings
        self.caches = caches or DatasetCaches()
        self._outputs = OutputsPaths(settings.outputs)

    @property
    def router(self) -> APIRouter:
        """The routes, to be included in the application."""
        router = new_router()
        draft = "/drafts/{draft}"
        router.add_api_route(f"{draft}/images", self.images, response_model=ImagePage)
        router.add_api_route(f"{draft}/images", self.clear, methods=["DELETE"], response_model=ImageCounts)
        router.add_api_route(f"{draft}/images/{{name}}", self.caption, methods=["PATCH"], response_model=ImageCounts)
        router.add_api_route(f"{draft}/images/{{name}}", self.remove, methods=["DELETE"], response_model=ImageCounts)
        router.add_api_route(f"{draft}/names", self.names, response_model=ImageNames)
        router.add_api_route(f"{draft}/remove", self.remove_several, methods=["POST"], response_model=ImageCounts)
        router.add_api_route(f"{draft}/remove-unused", self.remove_unused_captions, methods=["POST"], response_model=ImageCounts)
        router.add_api_route(f"{draft}/add-text", self.add_text, methods=["POST"], response_model=ImageCounts)
        router.add_api_route(f"{draft}/replace", self.replace, methods=["POST"], response_model=ImageCounts)
        router.add_api_route(f"{draft}/undo", self.undo, methods=["POST"], response_model=ImageCounts)
        router.add_api_route(f"{draft}/example", self.example, methods=["POST"], response_model=ExampleAdded)
        router.add_api_route(f"{draft}/unsaved", self.unsaved, response_model=Unsaved)
        return router

    def folder(self, draft: str, source: str) -> ImageFolder:
        """Return the folder of the images that a form shows."""
        return self.caches.folder(self._outputs.run(source).dataset if source else self._draft(draft).images.path)

    def images(
        self,
        draft: str,
        selection: Annotated[Selection, Depends()],
        source: str = "",
        offset: int = Query(0, ge=0),
        limit: int = Query(PAGE, ge=1, le=PAGE),
    ) -> ImagePage:
        """Return one page of images with captions and thumbnail addresses."""
        folder = self.folder(draft, source)
        captions = folder.captions()
        names = selection.of(captions)
        base = f"runs/{quote(source)}" if source else f"drafts/{draft}"
        items = []
        for item in folder.items_of(names[offset : offset + limit], captions):
            version = f"{item.mtime_ns:x}"
            thumb = f"{base}/images/{quote(item.name)}?v={version}"
            items.append(ImageItem(name=item.name, caption=item.caption or "", version=version, thumb=thumb))
        count = len(captions.texts)
        return ImagePage(
            source=source, items=items, count=count, captioned=count - len(captions.missing()), shown=len(names),
            no_trigger=len(captions.without(selection.trigger)),
        )  # fmt: skip

    def names(self, draft: str, selection: Annotated[Selection, Depends()], source: str = "") -> ImageNames:
        """Return the names of all images that match search and filter."""
        return ImageNames(names=selection.of(self.folder(draft, source).captions()))

    def caption(self, draft: str, name: str, request: CaptionRequest, source: str = "") -> ImageCounts:
        """Write an image's caption."""
        self.folder(draft, source).image_path(name)  # raises if it is not there
        check_caption(name, request.caption)
        own = self._own(draft, source)
        own.images.set_caption(name, request.caption)
        return _counts(self.folder(draft, ""))

    def remove(self, draft: str, name: str, source: str = "") -> ImageCounts:
        """Remove an image and its caption from the dataset."""
        self.folder(draft, source).image_path(name)  # raises if it is not there
        own = self._own(draft, source)
        own.images.image_path(name)  # another tab may have removed it from the copy
        return _counts(self.folder(draft, ""), DraftEdits(own).remove([name]))

    def remove_several(self, draft: str, request: NamesRequest, source: str = "") -> ImageCounts:
        """Remove images and their captions from the dataset."""
        if not self.folder(draft, source).images().keys() & set(request.names):
            raise DatasetError("None of the selected images is here any more. Reload the page.", field="images")
        own = self._own(draft, source)
        return _counts(self.folder(draft, ""), DraftEdits(own).remove(request.names))

    def remove_unused_captions(self, draft: str, source: str = "") -> ImageCounts:
        """Remove the caption files that belong to no image."""
        own = self._own(draft, source)
        return _counts(self.folder(draft, ""), DraftEdits(own).remove_unused_captions())

    def add_text(self, draft: str, request: AddTextRequest, source: str = "") -> ImageCounts:
        """Add a text to captions, with a comma between them."""
        text = request.text.strip()
        if not text:
            raise DatasetError("Enter a text to add.", field="images")
        return self._edit_captions(draft, source, request.names, added_text(text, at_start=request.at == "start"))

    def replace(self, draft: str, request: ReplaceRequest, source: str = "") -> ImageCounts:
        """Replace a text in captions."""
        if not request.find:
            raise DatasetError("Enter a text to find.", field="images")
        return self._edit_captions(draft, source, request.names, replaced_text(request.find, request.text))

    def _edit_captions(self, draft: str, source: str, names: list[str], change: TextChange) -> ImageCounts:
        if not changed_captions(self.folder(draft, source), names, change):
            return _counts(self.folder(draft, source), source=source, changed=0)
        own = self._own(draft, source)
        changed = changed_captions(self.folder(draft, ""), names, change)
        return _counts(self.folder(draft, ""), DraftEdits(own).set_captions(changed), changed=len(changed))

    def undo(self, draft: str, request: UndoRequest, source: str = "") -> ImageCounts:
        """Put back what an edit removed or changed."""
        own = self._draft(draft)  # an edit has copied a run's images; an Undo never does
        DraftEdits(own).undo(request.token)
        return _counts(self.folder(draft, ""))

    def clear(self, draft: str, source: str = "") -> ImageCounts:
        """Remove all images from the form. A run keeps its own; images that another tab put into the draft are kept and shown."""
        own = self._draft(draft)
        if source and not own.is_copy_of(self._outputs.run(source)):
            return _counts(self.folder(draft, ""))
        return _counts(self.folder(draft, ""), DraftEdits(own).remove_all())

    def unsaved(self, draft: str) -> Unsaved:
        """Return what replacing the form's content would discard: whether fields were edited, and the number of the draft's own images."""
        own = self._draft(draft)
        return Unsaved(typed=own.read_form() is not None, images=self.folder(draft, "").count())

    def example(self, draft: str, source: str = "") -> ExampleAdded:
        """Add the example photos to the draft."""
        if self.folder(draft, source).count():
            raise DatasetError("The form has images already. Remove them to use the example photos.", field="images")
        write_example(self._own(draft, source).images.path)
        return ExampleAdded(source="", name=first_free_run(self._outputs, EXAMPLE).slug, trigger=TRIGGER)

    def _draft(self, draft: str) -> Draft:
        return open_draft(self._settings.outputs, draft)

    def _own(self, draft: str, source: str) -> Draft:
        """Return the draft, after copying the images and captions of the run that the form shows into it."""
        own = self._draft(draft)
        if source:
            own.copy_images_from(self._outputs.run(source))
        return own


def _counts(folder: ImageFolder, undo: str = "", *, source: str = "", changed: int | None = None) -> ImageCounts:
    tally = folder.tally()
    return ImageCounts(source=source, count=tally.images, captioned=tally.captioned, undo=undo, changed=changed)

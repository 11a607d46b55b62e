"""Routes of the form's images: pages of images, captions, the example. A run's images are copied into the draft before the first edit."""

from dataclasses import dataclass
from urllib.parse import quote

from fastapi import APIRouter, Query

from fluxgym.app_settings import Settings
from fluxgym.dataset.example import TRIGGER, write_example
from fluxgym.dataset.folder import ImageFolder
from fluxgym.errors import DatasetError
from fluxgym.runs.paths import OutputsPaths
from fluxgym.sessions.drafts import Draft, open_draft
from fluxgym.sessions.preconditions import first_free_run
from fluxgym.ui.api.answers import ExampleAdded, ImageCounts, ImageItem, ImagePage, Unsaved
from fluxgym.ui.api.responses import new_router

PAGE = 100
MAX_CAPTION_CHARACTERS = 100_000
EXAMPLE = "example-cat"


@dataclass(frozen=True, kw_only=True)
class CaptionRequest:
    """The new caption of an image."""

    caption: str


class ImageRoutes:
    """Routes of the image grid. A request's source is the slug of the run whose images the form shows, "" for the draft's own."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
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
        router.add_api_route(f"{draft}/copy", self.copy, methods=["POST"], response_model=ImageCounts)
        router.add_api_route(f"{draft}/example", self.example, methods=["POST"], response_model=ExampleAdded)
        router.add_api_route(f"{draft}/unsaved", self.unsaved, response_model=Unsaved)
        return router

    def folder(self, draft: str, source: str) -> ImageFolder:
        """Return the folder of the images that a form shows."""
        return ImageFolder(self._outputs.run(source).dataset) if source else self._draft(draft).images

    def images(self, draft: str, source: str = "", offset: int = Query(0, ge=0), limit: int = Query(PAGE, ge=1, le=PAGE)) -> ImagePage:
        """Return one page of images with captions and thumbnail addresses."""
        folder = self.folder(draft, source)
        base = f"runs/{quote(source)}" if source else f"drafts/{draft}"
        items = []
        for item in folder.items(offset, limit):
            version = f"{(folder.path / item.name).stat().st_mtime_ns:x}"
            thumb = f"{base}/images/{quote(item.name)}?v={version}"
            items.append(ImageItem(name=item.name, caption=item.caption or "", version=version, thumb=thumb))
        tally = folder.tally()
        return ImagePage(source=source, items=items, count=tally.images, captioned=tally.captioned)

    def caption(self, draft: str, name: str, request: CaptionRequest, source: str = "") -> ImageCounts:
        """Write an image's caption."""
        own = self._own(draft, source)
        own.images.set_caption(name, request.caption[:MAX_CAPTION_CHARACTERS])
        return _counts(own)

    def remove(self, draft: str, name: str, source: str = "") -> ImageCounts:
        """Remove an image and its caption from the dataset."""
        own = self._own(draft, source)
        own.images.remove(name)
        return _counts(own)

    def clear(self, draft: str, source: str = "") -> ImageCounts:
        """Remove all images from the form. A run keeps its own; images that another tab put into the draft are kept and shown."""
        own = self._draft(draft)
        if not source or own.is_copy_of(self._outputs.run(source)):
            own.forget_images()
        return _counts(own)

    def unsaved(self, draft: str) -> Unsaved:
        """Return what replacing the form's content would discard: whether fields were edited, and the number of the draft's own images."""
        own = self._draft(draft)
        return Unsaved(typed=own.read_form() is not None, images=own.images.count())

    def copy(self, draft: str, source: str = "") -> ImageCounts:
        """Copy a run's images into the draft, so that uploads can be added to them."""
        return _counts(self._own(draft, source))

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


def _counts(draft: Draft) -> ImageCounts:
    tally = draft.images.tally()
    return ImageCounts(source="", count=tally.images, captioned=tally.captioned)

"""Endpoints of the form's dataset: pages of images, captions, the example. A run's images are copied into the draft before the first edit."""

from urllib.parse import quote

from fluxgym.app_settings import Settings
from fluxgym.dataset.example import TRIGGER, write_example
from fluxgym.dataset.folder import ImageFolder
from fluxgym.errors import DatasetError
from fluxgym.runs.paths import OutputsPaths
from fluxgym.sessions.drafts import Draft, open_draft
from fluxgym.sessions.preconditions import first_free_run
from fluxgym.ui.api.responses import JsonObject, integer, json_endpoint, text

PAGE = 100
EXAMPLE = "example-cat"


class ImageHandlers:
    """Endpoints of the image gallery. A request's source is the slug of the run whose images the form shows, "" for the draft's own."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._outputs = OutputsPaths(settings.outputs)
        self.server = (self.images, self.caption, self.remove, self.clear, self.prepare, self.example, self.unsaved_changes)

    def folder(self, draft: str, source: str) -> ImageFolder:
        """Return the folder of the images that a form shows."""
        return ImageFolder(self._outputs.run(source).dataset) if source else open_draft(self._settings.outputs, draft).images

    @json_endpoint
    def images(self, data: JsonObject) -> JsonObject:
        """Return one page of images with captions and thumbnail URLs; data has offset and limit."""
        draft, source = text(data, "draft"), text(data, "source")
        folder = self.folder(draft, source)
        base = f"runs/{quote(source)}" if source else f"drafts/{draft}"
        items = []
        for item in folder.items(integer(data, "offset"), integer(data, "limit", 1, PAGE)):
            version = f"{(folder.path / item.name).stat().st_mtime_ns:x}"
            thumb = f"{base}/images/{quote(item.name)}?v={version}"
            items.append({"name": item.name, "caption": item.caption, "version": version, "thumb": thumb})
        return {"source": source, "items": items, **_counts(folder)}

    @json_endpoint
    def caption(self, data: JsonObject) -> JsonObject:
        """Write the caption data["text"] of the image data["name"]."""
        own = self._own(data)
        own.images.set_caption(text(data, "name"), text(data, "text", 100_000))
        return {"source": "", **_counts(own.images)}

    @json_endpoint
    def remove(self, data: JsonObject) -> JsonObject:
        """Remove the image data["name"] and its caption from the dataset."""
        own = self._own(data)
        own.images.remove(text(data, "name"))
        return {"source": ""}

    @json_endpoint
    def clear(self, data: JsonObject) -> JsonObject:
        """Remove all images from the form. A run keeps its own; images that another tab put into the draft are kept and shown."""
        draft, source = self._draft(data), text(data, "source")
        if not source or draft.is_copy_of(self._outputs.run(source)):
            draft.forget_images()
        return {"source": ""}

    @json_endpoint
    def unsaved_changes(self, data: JsonObject) -> JsonObject:
        """Return what replacing the form's content would discard: whether fields were edited, and the number of the draft's own images."""
        draft = self._draft(data)
        return {"typed": draft.read_form() is not None, "images": draft.images.count()}

    @json_endpoint
    def prepare(self, data: JsonObject) -> JsonObject:
        """Copy a run's images into the draft, so that uploads can be added to them."""
        self._own(data)
        return {"source": ""}

    @json_endpoint
    def example(self, data: JsonObject) -> JsonObject:
        """Add the example photos to the draft; returns a free LoRA name and the trigger word of their captions."""
        if self.folder(text(data, "draft"), text(data, "source")).count():
            raise DatasetError("The form has images already. Remove them to use the example photos.", field="images")
        folder = self._own(data).images
        write_example(folder.path)
        return {"source": "", "name": first_free_run(self._outputs, EXAMPLE).slug, "trigger": TRIGGER}

    def _draft(self, data: JsonObject) -> Draft:
        return open_draft(self._settings.outputs, text(data, "draft"))

    def _own(self, data: JsonObject) -> Draft:
        """Return the draft, after copying the images and captions of the run that the form shows into it."""
        draft = self._draft(data)
        if source := text(data, "source"):
            draft.copy_images_from(self._outputs.run(source))
        return draft


def _counts(folder: ImageFolder) -> dict[str, int]:
    tally = folder.tally()
    return {"count": tally.images, "captioned": tally.captioned}

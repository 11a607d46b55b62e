"""The data set of the form: its images by page, its captions, the example. A run's images are read from the run and copied into the draft before an edit."""

from urllib.parse import quote

from fluxgym.app_settings import Settings
from fluxgym.dataset.example import TRIGGER, write_example
from fluxgym.dataset.folder import ImageFolder
from fluxgym.errors import DatasetError
from fluxgym.runs.paths import OutputsPaths
from fluxgym.runs.state import next_version
from fluxgym.sessions.drafts import Draft, open_draft
from fluxgym.ui.api.answers import Answer, answers, text, whole

PAGE = 100
EXAMPLE = "example-cat"


class ImageHandlers:
    """Answers the gallery. `source` is the run whose images the form shows, "" for the draft's own."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._outputs = OutputsPaths(settings.outputs)
        self.server = (self.images, self.caption, self.remove, self.clear, self.prepare, self.example, self.held)

    def folder(self, draft: str, source: str) -> ImageFolder:
        """Return the folder of images that a form shows."""
        return ImageFolder(self._outputs.run(source).dataset) if source else open_draft(self._settings.outputs, draft).images

    @answers
    def images(self, data: Answer) -> Answer:
        """Answer one page of images with their captions."""
        draft, source = text(data, "draft"), text(data, "source")
        folder = self.folder(draft, source)
        base = f"runs/{quote(source)}" if source else f"drafts/{draft}"
        items = []
        for item in folder.items(whole(data, "offset"), whole(data, "limit", 1, PAGE)):
            version = f"{(folder.path / item.name).stat().st_mtime_ns:x}"
            thumb = f"{base}/images/{quote(item.name)}?v={version}"
            items.append({"name": item.name, "caption": item.caption, "version": version, "thumb": thumb})
        return {"source": source, "items": items, **_counts(folder)}

    @answers
    def caption(self, data: Answer) -> Answer:
        """Write a caption to its file."""
        own = self._own(data)
        own.images.set_caption(text(data, "name"), text(data, "text", 100_000))
        return {"source": "", **_counts(own.images)}

    @answers
    def remove(self, data: Answer) -> Answer:
        """Take an image and its caption out of the data set."""
        own = self._own(data)
        own.images.remove(text(data, "name"))
        return {"source": ""}

    @answers
    def clear(self, data: Answer) -> Answer:
        """Take all images out of the form; those of a run stay with the run, and those of another tab are shown instead of removed."""
        draft, source = self._draft(data), text(data, "source")
        if not source or draft.is_copy_of(self._outputs.run(source)):
            draft.forget_images()
        return {"source": ""}

    @answers
    def held(self, data: Answer) -> Answer:
        """Answer what would be lost if the form were filled again: whether something was typed, and how many images are the draft's."""
        draft = self._draft(data)
        return {"typed": draft.read_form() is not None, "images": draft.images.count()}

    @answers
    def prepare(self, data: Answer) -> Answer:
        """Make the images the draft's own, so that uploads can join them."""
        self._own(data)
        return {"source": ""}

    @answers
    def example(self, data: Answer) -> Answer:
        """Bring the example photos, and propose a free name and the trigger word of their captions."""
        if self.folder(text(data, "draft"), text(data, "source")).count():
            raise DatasetError("There are images already; remove them first to use the example.", field="images")
        folder = self._own(data).images
        write_example(folder.path)
        names = (EXAMPLE, *(next_version(EXAMPLE, number) for number in range(2, 1000)))
        free = next(name for name in names if not self._outputs.run(name).folder.exists())
        return {"source": "", "name": free, "trigger": TRIGGER}

    def _draft(self, data: Answer) -> Draft:
        return open_draft(self._settings.outputs, text(data, "draft"))

    def _own(self, data: Answer) -> Draft:
        """Return the draft with the images that the form shows in it: copied from the run once, captions too."""
        draft = self._draft(data)
        if source := text(data, "source"):
            draft.copy_images_from(self._outputs.run(source))
        return draft


def _counts(folder: ImageFolder) -> dict[str, int]:
    tally = folder.tally()
    return {"count": tally.images, "captioned": tally.captioned}

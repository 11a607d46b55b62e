"""Drafts: what a browser has typed and uploaded before Start, in outputs/.fluxgym/drafts/<id>/ with form.json, dataset/ and
undo/ (draft_edits.py)."""

import re
import secrets
import shutil
import time
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fluxgym.contract.files import DATASET_FOLDER
from fluxgym.dataset.folder import ImageFolder, copy_into
from fluxgym.errors import DatasetError, SessionNotFound, UnreadableState
from fluxgym.runs.atomic_files import read_json, write_json
from fluxgym.runs.locks import file_lock
from fluxgym.runs.paths import OutputsPaths, RunPaths
from fluxgym.runs.state import read_state
from fluxgym.runs.storage_errors import storage_error

ID = re.compile(r"[0-9a-f]{16,64}")
CLOCK_TOLERANCE_S = 5.0


@dataclass(frozen=True, kw_only=True)
class FormOrder:
    """Decides which content of a form is newer.

    page is one tab of the browser, number counts its requests, edited_at is when its fields were last edited, by the app's clock, which
    the page knows.
    """

    page: str
    number: int
    edited_at: float

    def is_before(self, other: "FormOrder") -> bool:
        """Return True if this content is older than another one.

        A time in the future, from before a clock was set back, does not count.
        """
        if self.page == other.page:
            return self.number < other.number
        return self.edited_at < other.edited_at <= time.time() + CLOCK_TOLERANCE_S

    @classmethod
    def from_json(cls, value: Any) -> "FormOrder | None":
        """Read what a draft was saved with, None if it is missing or damaged."""
        try:
            return cls(page=str(value["page"]), number=int(value["number"]), edited_at=float(value["edited_at"]))
        except (TypeError, KeyError, ValueError, OverflowError):
            return None


@dataclass(frozen=True)
class Draft:
    """One browser's draft."""

    folder: Path

    @property
    def id(self) -> str:
        """The draft's id, which only its browser knows."""
        return self.folder.name

    @property
    def images(self) -> ImageFolder:
        """The images and captions so far."""
        return ImageFolder(self.folder / DATASET_FOLDER)

    def read_form(self) -> dict[str, Any] | None:
        """Return the saved form values, or None if there are none."""
        form = read_json(self._form)
        return form if isinstance(form, dict) and not form.keys() <= {"order", "run"} else None

    def shown_run(self) -> str:
        """Return the slug of the run that the form became or was filled with, and shows until it is edited; "" if there is none."""
        form = read_json(self._form)
        slug = form.get("run") if isinstance(form, dict) else None
        return slug if isinstance(slug, str) else ""

    def write_form(self, form: dict[str, Any], order: FormOrder | None = None) -> bool:
        """Save the form values. Do nothing and return False if newer values have been saved or deleted.

        Values without an order count as the newest.

        Raises:
            StorageError: If they cannot be written.
        """
        with self._changing_form():
            if self._has_newer(order):
                return False
            write_json(self._form, form if order is None else form | {"order": asdict(order)})
            return True

    def forget_form(self, order: FormOrder | None = None, *, run: str = "") -> bool:
        """Delete the saved form values, once they have become a run or the user discards them; False if newer ones are saved already.

        run is the slug of the run that the form shows from now on.
        """
        with self._changing_form():
            if self._has_newer(order):
                return False
            kept: dict[str, Any] = {} if order is None else {"order": asdict(order)}  # so that no older request brings them back
            kept |= {"run": run} if run else {}
            if kept:
                write_json(self._form, kept)
            else:
                self._form.unlink(missing_ok=True)
            return True

    def _has_newer(self, order: FormOrder | None) -> bool:
        saved = read_json(self._form)
        before = FormOrder.from_json(saved.get("order")) if isinstance(saved, dict) else None
        return order is not None and before is not None and order.is_before(before)

    def _changing_form(self) -> AbstractContextManager[None]:
        return file_lock(self.folder / ".form.lock", timeout_s=10, busy="The form is being saved by another tab; try again in a moment.")

    @property
    def _form(self) -> Path:
        return self.folder / "form.json"

    def forget_images(self) -> None:
        """Delete the images, once they have become a run's or the user discards them."""
        with self.images.changing():
            shutil.rmtree(self.images.path, ignore_errors=True)
            shutil.rmtree(self.folder / "undo", ignore_errors=True)
            self._origin.unlink(missing_ok=True)

    def copy_images_from(self, run: RunPaths) -> None:
        """Copy a run's images into the draft, so that they can be edited. The copy is made once and atomically; an earlier copy is kept as edited.

        Raises:
            DatasetError: If the draft holds other images that were not started, which another tab may show.
        """
        with self.images.changing():
            self.check_shows(run)
            if self.is_empty() and ImageFolder(run.dataset).count():
                self._copy(run)

    def check_shows(self, run: RunPaths) -> None:
        """Raise DatasetError if the draft holds images other than this run's: they were not started, and another tab may show them."""
        if not self.is_empty() and not self.is_copy_of(run):
            raise DatasetError(self._other_tab_message(run), field="images")

    def _copy(self, run: RunPaths) -> None:
        tmp_path = self.folder / f"new-{secrets.token_hex(4)}"
        try:
            copy_into(run.dataset, tmp_path)
            write_json(self._origin, _identity(run))
            tmp_path.replace(self.images.path)  # the target is absent or an empty folder
        except OSError as error:
            raise storage_error(error, self.images.path) from error
        finally:
            shutil.rmtree(tmp_path, ignore_errors=True)

    def is_empty(self) -> bool:
        """Return True if neither images nor captions are here."""
        try:
            return not any(self.images.path.iterdir())
        except OSError:
            return True

    def copied_run(self) -> str:
        """Return the slug of the run that the images were copied from, "" if they were not copied."""
        origin = read_json(self._origin)
        slug = origin.get("slug") if isinstance(origin, dict) else None
        return slug if isinstance(slug, str) else ""

    def is_copy_of(self, run: RunPaths) -> bool:
        """Return True if the images were copied from this run, and not from another one of its name."""
        return bool(read_json(self._origin) == _identity(run))

    @property
    def _origin(self) -> Path:
        return self.folder / "origin.json"

    def _other_tab_message(self, run: RunPaths) -> str:
        num = self.images.count()
        held = "an image that was" if num == 1 else f"{num} images that were" if num else "captions that were"
        return (
            f"Nothing was changed: the form in another tab of this browser holds {held} not started. Start them there, or discard them with "
            f"“New training”, to edit the images of {run.slug}."
        )


def _identity(run: RunPaths) -> dict[str, object]:
    """Return a key that distinguishes a run from another one of the same name."""
    try:
        return {"slug": run.slug, "run_id": read_state(run).get("run_id")}
    except UnreadableState:
        return {"slug": run.slug, "run_id": None}


def open_draft(outputs: Path, draft_id: str) -> Draft:
    """Return a draft, which may be empty.

    Raises:
        SessionNotFound: For an invalid id.
    """
    if not ID.fullmatch(draft_id):
        raise SessionNotFound("There is no such draft; reload the page.")
    return Draft(OutputsPaths(outputs).drafts / draft_id)

"""Drafts: what a browser has typed and uploaded before Start, in outputs/.fluxgym/drafts/<id>/ with form.json, dataset/ and
undo/ (draft_edits.py)."""

import re
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fluxgym.contract.files import DATASET_FOLDER
from fluxgym.dataset.folder import ImageFolder, copy_into
from fluxgym.errors import DatasetError, SessionNotFound, UnreadableState
from fluxgym.runs.files import read_json, storage_error, write_json
from fluxgym.runs.paths import OutputsPaths, RunPaths
from fluxgym.runs.state import read_state

ID = re.compile(r"[0-9a-f]{16,64}")


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
        form = read_json(self.folder / "form.json")
        return form if isinstance(form, dict) else None

    def write_form(self, form: dict[str, Any]) -> None:
        """Save the form values; raises StorageError if they cannot be written."""
        write_json(self.folder / "form.json", form)

    def forget_form(self) -> None:
        """Delete the saved form values, once they have become a run."""
        (self.folder / "form.json").unlink(missing_ok=True)

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
            if not self.is_empty():
                if not self.is_copy_of(run):
                    raise DatasetError(self._other_tab_message(run), field="images")
                return
            if ImageFolder(run.dataset).count():
                self._copy(run)

    def _copy(self, run: RunPaths) -> None:
        tmp_path = self.folder / f"new-{secrets.token_hex(4)}"
        try:
            copy_into(run.dataset, tmp_path, "")
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

    def is_copy_of(self, run: RunPaths) -> bool:
        """Return True if the images were copied from this very run."""
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
    """Return what distinguishes a run from another of the same name."""
    try:
        return {"slug": run.slug, "run_id": read_state(run).get("run_id")}
    except UnreadableState:
        return {"slug": run.slug, "run_id": None}


def open_draft(outputs: Path, draft_id: str) -> Draft:
    """Return a draft, which may be empty; raises SessionNotFound for an invalid id."""
    if not ID.fullmatch(draft_id):
        raise SessionNotFound("There is no such draft; reload the page.")
    return Draft(OutputsPaths(outputs).drafts / draft_id)

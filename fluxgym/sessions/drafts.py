"""What a browser has typed and uploaded before Start: outputs/.fluxgym/drafts/<id>/ with form.json and dataset/."""

import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fluxgym.dataset.folder import PictureFolder
from fluxgym.errors import SessionNotFound
from fluxgym.run.atomic import read_json, write_json
from fluxgym.run.paths import OutputsPaths

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
    def pictures(self) -> PictureFolder:
        """The pictures and captions so far."""
        return PictureFolder(self.folder / "dataset")

    def read_form(self) -> dict[str, Any] | None:
        """Return what was typed, None when nothing was kept."""
        form = read_json(self.folder / "form.json")
        return form if isinstance(form, dict) else None

    def write_form(self, form: dict[str, Any]) -> None:
        """Keep what was typed; raises StorageError when the disk refuses."""
        write_json(self.folder / "form.json", form)

    def forget_form(self) -> None:
        """Forget what was typed, once it has become a run."""
        (self.folder / "form.json").unlink(missing_ok=True)


def new_draft_id() -> str:
    """Draw an id that cannot be guessed."""
    return secrets.token_hex(16)


def open_draft(outputs: Path, draft_id: str) -> Draft:
    """Return a draft, whether it has anything in it or not; raises SessionNotFound for what is no draft's id."""
    if not ID.fullmatch(draft_id):
        raise SessionNotFound("There is no such draft; reload the page.")
    return Draft(OutputsPaths(outputs).drafts / draft_id)

"""Edits of a draft's images that can be undone: removed images are moved into the folder of the edit, and earlier captions are kept.

Each edit is a folder drafts/<id>/undo/<token>/ with the removed files and edit.json, {"captions": {name: [before, after]}}. That of a drop of
files has a folder uploads/ (upload_edits.py).
"""

import os
import re
import secrets
import shutil
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fluxgym.contract.caption_files import CAPTION, captions_beside, pair_captions
from fluxgym.contract.regular_files import copy_regular
from fluxgym.errors import DatasetError, FluxGymError
from fluxgym.runs.atomic_files import read_json, write_json
from fluxgym.runs.storage_errors import storage_error
from fluxgym.sessions.drafts import Draft
from fluxgym.sessions.restored_images import Restored
from fluxgym.sessions.upload_edits import UploadEdit

TOKEN = re.compile(r"[0-9a-f]{16}")
MAX_EDIT_BYTES = 1 << 30  # the captions of thousands of images, before and after
UPLOADS = "uploads"
KEPT_S = 3600.0  # an undone edit is gone at once, any other after an hour


@dataclass(frozen=True)
class DraftEdits:
    """The edits of one draft's images."""

    draft: Draft

    def remove(self, names: Iterable[str]) -> str:
        """Remove images with their captions; returns the token that `undo` takes. Names that do not exist are skipped."""
        folder, path = self._new(), self.draft.images.path
        with self.draft.images.changing():
            names_here, files = self.draft.images.images(), self.draft.images.file_names()
            removed = [name for name in dict.fromkeys(names) if name in names_here]
            beside = captions_beside(removed, files)
            kept = {caption for image, caption in pair_captions(files, CAPTION).of.items() if image not in beside}
            try:
                for name in removed:  # the captions first, so that an image is never seen without its own
                    for caption in beside[name]:
                        if caption not in kept and os.path.lexists(path / caption):
                            (path / caption).replace(folder / caption)
                        elif caption in kept and caption == beside[name][0] and not (folder / caption).exists():
                            copy_regular(path / caption, folder / caption)  # the images that stay keep it
                    (path / name).replace(folder / name)
            except OSError as error:
                raise storage_error(error, folder) from error
        return folder.name

    def remove_all(self) -> str:
        """Remove all images, and captions that belong to none; returns the token that `undo` takes."""
        folder, path = self._new(), self.draft.images.path
        with self.draft.images.changing():
            try:
                for file in path.iterdir() if path.is_dir() else ():
                    file.replace(folder / file.name)
            except OSError as error:
                raise storage_error(error, folder) from error
        return folder.name

    def remove_unused_captions(self) -> str:
        """Remove the caption files that belong to no image; returns the token that `undo` takes."""
        folder, images = self._new(), self.draft.images
        with images.changing():
            try:
                for name in images.unused_captions():
                    (images.path / name).replace(folder / name)
            except OSError as error:
                raise storage_error(error, folder) from error
        return folder.name

    def set_captions(self, captions: Mapping[str, str]) -> str:
        """Write captions by image name; returns the token that `undo` takes."""
        folder, images = self._new(), self.draft.images
        before = images.captions().texts
        changes = {name: [before.get(name, ""), text.strip()] for name, text in captions.items()}
        write_json(folder / "edit.json", {"captions": changes})
        try:
            images.set_captions(captions)
        except FluxGymError:
            self.undo(folder.name)  # all captions are changed, or none
            raise
        return folder.name

    def upload(self, token: str = "") -> tuple[str, UploadEdit]:
        """Return the edit of one drop of files, whose token the page has made or is made here, with its token.

        Raises:
            DatasetError: For an invalid token.
        """
        token = token or _new_token()
        if not TOKEN.fullmatch(token):
            raise DatasetError("The page has sent a token that it does not make; reload the page.", field="images")
        return token, UploadEdit(self._folder / token / UPLOADS)

    def undo(self, token: str) -> None:
        """Take back what a drop of files changed. Put removed images back, and captions that were not changed since.

        Images and captions whose name or caption another image has by now get a number.

        Raises:
            DatasetError: If the edit is not kept any more.
        """
        folder = self._folder / token
        self._check_kept(folder)
        with self.draft.images.changing():
            self._check_kept(folder)  # another request may have undone it while this one waited
            self._restore_captions(folder)
            UploadEdit(folder / UPLOADS).undo(self.draft.images)
            self._restore_images(folder)
            shutil.rmtree(folder, ignore_errors=True)

    @staticmethod
    def _check_kept(folder: Path) -> None:
        if not TOKEN.fullmatch(folder.name) or not folder.is_dir():
            raise DatasetError("This can no longer be undone.", field="images")

    def _restore_captions(self, folder: Path) -> None:
        edit = read_json(folder / "edit.json", max_bytes=MAX_EDIT_BYTES)
        captions = edit.get("captions", {}) if isinstance(edit, dict) else {}
        texts = self.draft.images.captions().texts
        self.draft.images.set_captions({name: before for name, (before, after) in captions.items() if texts.get(name) == after})

    def _restore_images(self, folder: Path) -> None:
        images = self.draft.images
        restored = Restored.of(folder, {path.name for path in folder.iterdir()} - {"edit.json", UPLOADS}, images.path, images.file_names())
        try:
            images.path.mkdir(parents=True, exist_ok=True)
            restored.put_back()
        except OSError as error:
            raise storage_error(error, images.path) from error

    @property
    def _folder(self) -> Path:
        return self.draft.folder / "undo"

    def _new(self) -> Path:
        """Return a new folder for an edit, after deleting those that are too old."""
        folder = self._folder / _new_token()
        try:
            folder.mkdir(parents=True)
            for other in self._folder.iterdir():
                if time.time() - other.stat().st_mtime > KEPT_S:
                    shutil.rmtree(other, ignore_errors=True)
        except OSError as error:
            raise storage_error(error, folder) from error
        return folder


def _new_token() -> str:
    return secrets.token_hex(8)

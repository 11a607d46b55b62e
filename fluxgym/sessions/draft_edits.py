"""Edits of a draft's images that can be undone: removed images are moved into the folder of the edit, and earlier captions are kept.

Each edit is a folder drafts/<id>/undo/<token>/ with the removed files and edit.json, {"captions": {name: [before, after]}}. That of a drop of
files has a folder uploads/ (upload_edits.py).
"""

import re
import secrets
import shutil
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fluxgym.contract.caption_files import CAPTION
from fluxgym.contract.limits import MAX_CAPTION_BYTES
from fluxgym.contract.regular_files import copy_regular, read_regular
from fluxgym.dataset.file_names import free_stem, stems_of
from fluxgym.errors import DatasetError, FluxGymError
from fluxgym.runs.atomic_files import read_json, write_json
from fluxgym.runs.path_checks import is_regular
from fluxgym.runs.storage_errors import storage_error
from fluxgym.sessions.drafts import Draft
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
            names_here = set(self.draft.images.images())
            removed = [name for name in dict.fromkeys(names) if name in names_here]
            shared = stems_of(names_here.difference(removed))
            try:
                for name in removed:
                    caption = (path / name).with_suffix(CAPTION)
                    if Path(name).stem in shared and caption.is_file():
                        copy_regular(caption, folder / caption.name)  # the images that stay keep it
                        (path / name).replace(folder / name)
                    else:
                        self._move(path, folder, name)
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
        changes = {name: [images.caption(name), text.strip()] for name, text in captions.items()}
        write_json(folder / "edit.json", {"captions": changes})
        try:
            for name, text in captions.items():
                images.set_caption(name, text)
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

        Images whose name or caption another image has by now get a number.

        Raises:
            DatasetError: If the edit is not kept any more.
        """
        folder = self._folder / token
        if not TOKEN.fullmatch(token) or not folder.is_dir():
            raise DatasetError("This can no longer be undone.", field="images")
        self._restore_captions(folder)
        with self.draft.images.changing():
            UploadEdit(folder / UPLOADS).undo(self.draft.images)
            self._restore_images(folder)
        shutil.rmtree(folder, ignore_errors=True)

    def _restore_captions(self, folder: Path) -> None:
        edit = read_json(folder / "edit.json", max_bytes=MAX_EDIT_BYTES)
        captions = edit.get("captions", {}) if isinstance(edit, dict) else {}
        images = self.draft.images.images()
        for name, (before, after) in captions.items():
            if name in images and self.draft.images.caption(name) == after:
                self.draft.images.set_caption(name, before)

    def _restore_images(self, folder: Path) -> None:
        target = self.draft.images.path
        removed = sorted(path.name for path in folder.iterdir() if path.name not in ("edit.json", UPLOADS) and path.suffix != CAPTION)
        try:
            target.mkdir(parents=True, exist_ok=True)
            stems = self._new_stems(folder, removed)
            for name in removed:
                self._move(folder, target, name, stems[Path(name).stem] + Path(name).suffix)
            for caption in folder.glob(f"*{CAPTION}"):
                if not (target / caption.name).exists():
                    caption.replace(target / caption.name)
        except OSError as error:
            raise storage_error(error, target) from error

    def _new_stems(self, folder: Path, removed: list[str]) -> dict[str, str]:
        """Return the new stem for each removed stem: images that had one stem keep a common one, because they share a caption."""
        present = set(self.draft.images.images())
        groups = {stem: {name for name in removed if Path(name).stem == stem} for stem in sorted(stems_of(removed))}
        taken, new_stems = stems_of(present), {}
        for stem, names in groups.items():
            caption = _content(self.draft.images.path / f"{stem}{CAPTION}")
            is_free = stem not in taken and caption is None
            if not names & present and (is_free or caption == _content(folder / f"{stem}{CAPTION}")):
                new_stems[stem] = stem
        for stem in groups.keys() - new_stems.keys():
            new_stems[stem] = free_stem(stem, taken | groups.keys() | set(new_stems.values()))
        return new_stems

    @staticmethod
    def _move(source: Path, target: Path, name: str, new_name: str = "") -> None:
        """Move an image, and its caption first, so that an image is never seen without it."""
        new_name = new_name or name
        caption = source / Path(name).with_suffix(CAPTION).name
        if caption.is_file():
            caption.replace(target / Path(new_name).with_suffix(CAPTION).name)
        (source / name).replace(target / new_name)

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


def _content(caption: Path) -> bytes | None:
    return read_regular(caption, MAX_CAPTION_BYTES) if is_regular(caption) else None

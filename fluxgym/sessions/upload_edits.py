"""What one drop of files changed unexpectedly, so that it can be undone: images that were added under other names with their captions, and captions that
were replaced.

Each is a JSON file with the name and the hash of what was added, and if a caption was new; captions/ has the captions from before. All are in
the folder of the edit.
"""

from dataclasses import dataclass
from pathlib import Path

from fluxgym.contract.caption_files import CAPTION, pair_captions
from fluxgym.contract.folder_summary import content_digest
from fluxgym.contract.regular_files import copy_regular
from fluxgym.dataset.arrivals import Outcome
from fluxgym.dataset.file_names import free_stem, taken_stems
from fluxgym.dataset.folder import ImageFolder
from fluxgym.runs.atomic_files import read_json, write_json
from fluxgym.runs.storage_errors import storage_error


@dataclass(frozen=True)
class UploadEdit:
    """The changes of one drop, in a folder that exists once there is one."""

    folder: Path

    def keep(self, caption: Path) -> None:
        """Copy a caption before it is replaced; the earliest one is kept.

        Raises:
            StorageError: If it cannot be copied; then it must not be replaced.
        """
        kept = self._captions / caption.name
        try:
            self._captions.mkdir(parents=True, exist_ok=True)
            if not kept.exists():
                copy_regular(caption, kept)
        except OSError as error:
            raise storage_error(error, kept) from error

    def record(self, file: Path, outcome: Outcome) -> None:
        """Record an image or caption that was added. A caption without an earlier one is recorded only beside other changes.

        Raises:
            StorageError: If it cannot be recorded.
        """
        is_new = file.suffix == CAPTION and outcome is Outcome.ADDED
        if not outcome.can_be_undone and not (is_new and self.folder.is_dir()):
            return
        try:
            digest = content_digest(file).hex()
        except OSError as error:
            raise storage_error(error, file) from error
        path = self.folder / f"{file.name}.json"
        is_new = is_new or bool((read_json(path) or {}).get("new"))
        write_json(path, {"name": file.name, "digest": digest, "new": is_new})

    def undo(self, images: ImageFolder) -> None:
        """Remove the added images with the captions that the drop brought, and put the captions back; what was changed since stays.

        A replaced caption that has gone since gets a number if an image would use it.

        Raises:
            StorageError: If a file cannot be changed.
        """
        records = [read_json(path) for path in sorted(self.folder.glob("*.json"))]
        digests = {str(record["name"]): record["digest"] for record in records}
        new = {str(record["name"]) for record in records if record.get("new")}

        def is_unchanged(file: Path) -> bool:
            return file.name in digests and _is_unchanged(file, digests[file.name])

        for name in digests:
            if Path(name).suffix != CAPTION and is_unchanged(images.path / name):
                images.remove(name, may_remove=lambda caption: caption.name in new and is_unchanged(caption))
        for kept in sorted(self._captions.glob("*")):
            file = images.path / kept.name
            try:
                if is_unchanged(file):
                    kept.replace(file)
                elif not file.exists() and kept.name not in new:
                    images.path.mkdir(parents=True, exist_ok=True)
                    kept.replace(images.path / _unused_name(kept.name, images.file_names()))
            except OSError as error:
                raise storage_error(error, file) from error

    @property
    def _captions(self) -> Path:
        return self.folder / "captions"


def _unused_name(caption: str, names: set[str]) -> str:
    """Return a caption's name, with a number if an image would use it."""
    if caption not in pair_captions(names | {caption}, CAPTION).of.values():
        return caption
    return free_stem(Path(caption).stem, taken_stems(names), key=str.casefold) + CAPTION


def _is_unchanged(file: Path, digest: str) -> bool:
    try:
        return content_digest(file).hex() == digest
    except OSError:
        return False

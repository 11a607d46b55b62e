"""What one drop of files changed unexpectedly, so that it can be undone: images that were added under other names, and captions that were replaced.

Each is a JSON file with the name and the hash of what was added; captions/ has the captions from before. All are in the folder of the edit.
"""

from dataclasses import dataclass
from pathlib import Path

from fluxgym.contract.caption_files import CAPTION
from fluxgym.contract.folder_summary import content_digest
from fluxgym.contract.regular_files import copy_regular
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

    def record(self, file: Path) -> None:
        """Record an image or caption that was added.

        Raises:
            StorageError: If it cannot be recorded.
        """
        try:
            digest = content_digest(file).hex()
        except OSError as error:
            raise storage_error(error, file) from error
        write_json(self.folder / f"{file.name}.json", {"name": file.name, "digest": digest})

    def undo(self, images: ImageFolder) -> None:
        """Remove the added images with their captions, and put the captions back; what was changed since stays.

        Raises:
            StorageError: If a file cannot be changed.
        """
        for record in sorted(self.folder.glob("*.json")):
            value = read_json(record)
            file = images.path / Path(str(value["name"])).name
            if not _is_unchanged(file, value["digest"]):
                continue
            if file.suffix != CAPTION:
                images.remove(file.name)
                continue
            try:
                (self._captions / file.name).replace(file)
            except OSError as error:
                raise storage_error(error, file) from error

    @property
    def _captions(self) -> Path:
        return self.folder / "captions"


def _is_unchanged(file: Path, digest: str) -> bool:
    try:
        return content_digest(file).hex() == digest
    except OSError:
        return False

"""Caches of image folders and decoded images, which the requests and plans of one server share."""

from dataclasses import dataclass, field
from pathlib import Path

from fluxgym.dataset.folder import ImageFolder
from fluxgym.dataset.folder_index import FolderIndexes
from fluxgym.dataset.images import DecodedImages, MaskLevels


@dataclass(frozen=True, kw_only=True)
class DatasetCaches:
    """The indexes of folders with images, and the results of decoding images and masks."""

    indexes: FolderIndexes = field(default_factory=FolderIndexes)
    decoded: DecodedImages = field(default_factory=DecodedImages)
    masks: MaskLevels = field(default_factory=MaskLevels)

    def folder(self, path: Path) -> ImageFolder:
        """Return a folder that uses these caches."""
        return ImageFolder(path, self.indexes.of(path), self.decoded)

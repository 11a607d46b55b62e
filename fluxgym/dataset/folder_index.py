"""Names, captions and sizes of a folder's images, read once for all requests that ask while the folder stays the same.

A request is answered by a read that began after it came. It is also answered by an earlier read if the folder's modification time is the
same since and, for the files' contents, if that read is at most RECHECK_S old: a file that another program writes in place leaves the
folder's time unchanged. Everything that FluxGym writes changes it.
"""

import functools
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic
from types import MappingProxyType
from typing import Generic, NamedTuple, TypeVar

from fluxgym.contract.dataset_rules import is_image_name
from fluxgym.contract.files import DATASET_FOLDER
from fluxgym.contract.limits import MAX_CAPTION_BYTES
from fluxgym.contract.regular_files import UnsafeFile, read_regular
from fluxgym.dataset.images import ImageSize, read_size
from fluxgym.errors import DatasetError
from fluxgym.runs.files import storage_error

MAX_CAPTION = 20_000
CAPTION = ".txt"
MAX_FOLDERS = 16
MAX_KEPT_CHARACTERS = 8_000_000  # of the captions of one folder
SETTLED_S = 2.0  # the coarsest time stamp of a file system: two changes within it leave the folder's time unchanged
RECHECK_S = 2.0
Found = TypeVar("Found")
Signature = tuple[int, int, int, int]
ABSENT = (0, 0)


class Captions(NamedTuple):
    """The images' captions by name in order, "" where there is none; and why files that are captions by name are not read, by file name."""

    texts: dict[str, str]
    refused: Mapping[str, str] = MappingProxyType({})

    def missing(self) -> list[str]:
        """Return the names of the images without a caption."""
        return [name for name, text in self.texts.items() if not text]

    def without(self, trigger: str) -> list[str]:
        """Return the names of the images whose caption lacks the trigger word."""
        word = trigger.strip().casefold()
        return [name for name, text in self.texts.items() if text and word not in text.casefold()] if word else []

    def matching(self, query: str) -> list[str]:
        """Return the names of the images with a text in the name or caption."""
        wanted = query.strip().casefold()
        if not wanted:
            return list(self.texts)
        return [name for name, text in self.texts.items() if wanted in name.casefold() or wanted in text.casefold()]


class _Shared(Generic[Found]):
    """What one read of a folder found, for all requests that it is new enough for. Thread-safe."""

    def __init__(
        self, path: Path, read: Callable[[], Found], *, max_age_s: float = float("inf"), can_keep: Callable[[Found], bool] = lambda _: True
    ) -> None:
        self._path, self._read, self._max_age_s, self._can_keep = path, read, max_age_s, can_keep
        self._lock = threading.Lock()
        self._found: Found | None = None
        self._began = float("-inf")
        self._state, self._state_since, self._is_settled = ABSENT, 0.0, False

    def get(self) -> Found:
        """Return what the folder holds."""
        asked = monotonic()
        with self._lock:
            found = self._found
            if found is not None and (self._began > asked or self._is_same()):
                return found
            self._observe()
            began, self._found = monotonic(), None
            self._is_settled = began - self._state_since >= SETTLED_S
            found, self._began = self._read(), began
            self._found = found if self._can_keep(found) else None
            return found

    def _is_same(self) -> bool:
        return self._is_settled and monotonic() - self._began <= self._max_age_s and _state_of(self._path) == self._state

    def _observe(self) -> None:
        """Remember since when the folder has its present state; only this process's clock is used, as the folder's may be a file server's."""
        state = _state_of(self._path)
        if state != self._state:
            self._state, self._state_since = state, monotonic()


def _state_of(folder: Path) -> tuple[int, int]:
    try:
        status = folder.stat()
    except OSError:
        return ABSENT
    return status.st_ino, status.st_mtime_ns


class FolderIndex:
    """The images of one folder. Thread-safe."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._texts: dict[str, tuple[Signature, str]] = {}  # by the caption's file name
        self._names = _Shared(path, self._read_names)
        self._captions = _Shared(
            path,
            self._read_captions,
            max_age_s=RECHECK_S,
            can_keep=lambda found: sum(map(len, found.texts.values())) <= MAX_KEPT_CHARACTERS,
        )
        self._sizes = _Shared(path, self._read_sizes, max_age_s=RECHECK_S)

    def count(self) -> int:
        """Return the number of images; raises StorageError if the folder cannot be read."""
        return len(self._names.get())

    def captions(self) -> Captions:
        """Return the captions of all images; raises StorageError if the folder cannot be read."""
        return self._captions.get()

    def sizes(self) -> tuple[ImageSize, ...]:
        """Return the sizes of all images in the order of their names; raises BadImage, which names the file, for a damaged one."""
        return self._sizes.get()

    def _read_names(self) -> tuple[str, ...]:
        return tuple(sorted(images_among(scan(self._path))))

    def _read_sizes(self) -> tuple[ImageSize, ...]:
        return tuple(read_size(entry) for _, entry in sorted(images_among(scan(self._path)).items()))

    def _read_captions(self) -> Captions:
        entries = scan(self._path)
        before, self._texts = self._texts, {}
        found: dict[str, str] = {}
        refused: dict[str, str] = {}
        kept = 0
        for name in sorted(images_among(entries)):
            caption = entries.get(f"{name.rpartition('.')[0]}{CAPTION}")
            if caption is None:
                found[name] = ""
                continue
            try:
                signature, text = _caption(caption, before.get(caption.name))
            except UnsafeFile as error:
                signature, text, refused[caption.name] = None, "", error.reason
            found[name] = text
            kept += len(text)
            if signature is not None and kept <= MAX_KEPT_CHARACTERS:
                self._texts[caption.name] = signature, text
        return Captions(found, refused)


def scan(path: Path) -> dict[str, os.DirEntry[str]]:
    """Return a folder's entries by name, {} if there is no folder.

    Raises StorageError if it cannot be read, DatasetError if it is a run's and a link.
    """
    check_not_linked(path)
    try:
        with os.scandir(path) as entries:
            return {entry.name: entry for entry in entries}
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise storage_error(error, path) from error


def check_not_linked(path: Path) -> None:
    """Raise DatasetError if the images' folder of a run or draft is a link, which may show images and captions from anywhere on this machine."""
    if path.name == DATASET_FOLDER and path.is_symlink():
        raise DatasetError(f"{path} is a link to another folder, which is not read; replace it by the folder itself.", field="images")


def images_among(entries: dict[str, os.DirEntry[str]]) -> dict[str, os.DirEntry[str]]:
    """Return the entries that are images."""
    return {name: entry for name, entry in entries.items() if is_image_name(name) and entry.is_file()}


def _caption(entry: os.DirEntry[str], before: tuple[Signature, str] | None) -> tuple[Signature | None, str]:
    """Return a caption file's signature and text, from before if the file is the same; None and "" if it cannot be read.

    Raises UnsafeFile for a link, a pipe, a device or a giant, whose content would be shown and trained on.
    """
    try:
        status = entry.stat(follow_symlinks=False)
        signature = status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size
        if before is not None and before[0] == signature:
            return before
        return signature, read_regular(entry.path, MAX_CAPTION_BYTES).decode("utf-8-sig", "replace").strip()
    except UnsafeFile:
        raise
    except OSError:
        return None, ""


@functools.lru_cache(maxsize=MAX_FOLDERS)
def index_of(path: Path) -> FolderIndex:
    """Return the index of a folder, the same one for all requests; those of the folders used least recently are dropped."""
    return FolderIndex(path)

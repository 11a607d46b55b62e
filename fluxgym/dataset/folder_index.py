"""Index of a folder's images: names, captions and sizes, read once for many requests.

A request accepts a read that began after the request arrived. It also accepts an earlier read if the folder has the same modification time as
at that read. Everything that FluxGym writes changes this time, but another program can write a file in place without changing it. Therefore
captions and sizes are read again after RECHECK_S.
"""

import functools
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from time import monotonic
from types import MappingProxyType
from typing import Generic, NamedTuple, TypeVar

from fluxgym.contract.caption_files import CAPTION, Pairing, decode_caption, pair_captions
from fluxgym.contract.dataset_rules import is_image_name
from fluxgym.contract.files import DATASET_FOLDER
from fluxgym.contract.folder_summary import FolderSummary, content_digest, equal_files, images_in_subfolders, without_trigger
from fluxgym.contract.limits import MAX_CAPTION_BYTES
from fluxgym.contract.regular_files import UnsafeFile, read_regular
from fluxgym.dataset.images import FileId, ImageSize, read_size
from fluxgym.dataset.natural_order import natural_key
from fluxgym.errors import DatasetError
from fluxgym.runs.storage_errors import storage_error

MAX_CAPTION = 20_000
MAX_FOLDERS = 16
MAX_KEPT_CHARACTERS = 8_000_000  # of the captions of one folder
# Two changes within one time stamp of the file system leave the folder's time unchanged. The coarsest stamps are even seconds; those with a
# fraction are ticks of a kernel or hundredths of a second.
SETTLED_S, SETTLED_TICK_S = 2.0, 0.05
RECHECK_S = 2.0
Result = TypeVar("Result")
Signature = tuple[int, int, int, int]
ABSENT = (0, 0)


class Captions(NamedTuple):
    """The captions of a folder's images.

    texts: the caption by image name, in order, "" without one. refused: the reason by name of each caption file that is not read.
    undecodable: names of caption files in an unknown encoding.
    """

    texts: dict[str, str]
    pairing: Pairing
    undecodable: tuple[str, ...] = ()
    refused: Mapping[str, str] = MappingProxyType({})

    def missing(self) -> list[str]:
        """Return the names of the images without a caption."""
        return [name for name, text in self.texts.items() if not text]

    def without(self, trigger: str) -> list[str]:
        """Return the names of the images whose caption lacks the trigger word."""
        return without_trigger(self.texts, trigger)

    def matching(self, query: str) -> list[str]:
        """Return the names of the images with a text in the name or caption."""
        wanted = query.strip().casefold()
        if not wanted:
            return list(self.texts)
        return [name for name, text in self.texts.items() if wanted in name.casefold() or wanted in text.casefold()]


class _Shared(Generic[Result]):
    """Caches the result of reading a folder, and shares one read among requests that come at the same time. Thread-safe."""

    def __init__(
        self,
        path: Path,
        read: Callable[[], Result],
        *,
        max_age_s: float = float("inf"),
        can_keep: Callable[[Result], bool] = lambda _: True,
    ) -> None:
        self._path = path
        self._read = read
        self._max_age_s = max_age_s
        self._can_keep = can_keep
        self._lock = threading.Lock()
        self._result: Result | None = None
        self._began = float("-inf")
        self._state, self._state_since, self._is_settled = ABSENT, 0.0, False

    def get(self) -> Result:
        """Return what the folder holds."""
        asked = monotonic()
        with self._lock:
            result = self._result
            if result is not None and (self._began > asked or self._is_same()):
                return result
            self._observe()
            began = monotonic()
            self._result = None
            self._is_settled = began - self._state_since >= _settles_in(self._state)
            result = self._read()
            self._began = began
            self._result = result if self._can_keep(result) else None
            return result

    def _is_same(self) -> bool:
        return self._is_settled and monotonic() - self._began <= self._max_age_s and _state_of(self._path) == self._state

    def _observe(self) -> None:
        """Record since when the folder has its present state.

        Only this process's clock is used: the folder's times may come from a file server with another clock.
        """
        state = _state_of(self._path)
        if state != self._state:
            self._state, self._state_since = state, monotonic()


def _state_of(folder: Path) -> tuple[int, int]:
    try:
        status = folder.stat()
    except OSError:
        return ABSENT
    return status.st_ino, status.st_mtime_ns


def _settles_in(state: tuple[int, int]) -> float:
    """Return the seconds after which a further change surely changes a folder's state, counted from when this state was first seen."""
    return SETTLED_TICK_S if state[1] % 10**9 else SETTLED_S


class _Listing(NamedTuple):
    """The names of a folder's files, the images among them in order, and which file is the caption of which image."""

    files: frozenset[str]
    images: tuple[str, ...]
    pairing: Pairing


class _Caption(NamedTuple):
    """A caption file's signature, None if it cannot be read, and its text, with replaced characters if its encoding is not known."""

    signature: Signature | None
    text: str
    is_decodable: bool = True


class _Extras(NamedTuple):
    """Groups of images of the same content, the numbers of images in the folders inside, and image names that are not files."""

    equal: tuple[tuple[str, ...], ...]
    subfolders: dict[str, int]
    not_files: tuple[str, ...]


class FolderIndex:
    """The images of one folder, with captions that end in `extension`, else in .txt. Thread-safe."""

    def __init__(self, path: Path, extension: str = CAPTION) -> None:
        self._path, self._extension = path, extension
        self._texts: dict[str, _Caption] = {}  # by the caption's file name
        self._listing: _Listing | None = None
        self._digests: dict[FileId, bytes] = {}
        self._names = _Shared(path, self._read_names)
        self._captions = _Shared(
            path,
            self._read_captions,
            max_age_s=RECHECK_S,
            can_keep=lambda captions: sum(map(len, captions.texts.values())) <= MAX_KEPT_CHARACTERS,
        )
        self._sizes = _Shared(path, self._read_sizes, max_age_s=RECHECK_S)
        self._extras = _Shared(path, self._read_extras, max_age_s=RECHECK_S)

    def count(self) -> int:
        """Return the number of images.

        Raises:
            StorageError: If the folder cannot be read.
        """
        return len(self._names.get())

    def captions(self) -> Captions:
        """Return the captions of all images.

        Raises:
            StorageError: If the folder cannot be read.
        """
        return self._captions.get()

    def sizes(self) -> tuple[ImageSize, ...]:
        """Return the sizes of all images in the order of their names.

        Raises:
            BadImage: For a damaged one; the message names the file.
        """
        return self._sizes.get()

    def summary(self) -> FolderSummary:
        """Return what the folder holds, and which files would not be trained.

        Raises:
            StorageError: If the folder cannot be read.
        """
        captions, extras = self._captions.get(), self._extras.get()
        return FolderSummary(
            captions=captions.texts,
            pairing=captions.pairing,
            undecodable=captions.undecodable,
            refused=captions.refused,
            equal=extras.equal,
            subfolders=extras.subfolders,
            not_files=extras.not_files,
        )

    def _read_extras(self) -> _Extras:
        entries = scan(self._path)
        images = images_among(entries)
        files = {name: file for name, entry in images.items() if (file := _file_id(entry)) is not None}
        before = self._digests
        self._digests = {}

        def digest(name: str) -> bytes:
            file = files[name]
            self._digests[file] = before.get(file) or self._digests.get(file) or _digest(file)
            return self._digests[file]

        equal = equal_files({name: file.size for name, file in files.items()}, digest)
        return _Extras(equal=equal, subfolders=_subfolders(self._path), not_files=not_files_among(entries))

    def _read_names(self) -> tuple[str, ...]:
        return tuple(sorted(images_among(scan(self._path))))

    def _read_sizes(self) -> tuple[ImageSize, ...]:
        return tuple(read_size(entry) for _, entry in sorted(images_among(scan(self._path)).items()))

    def _read_captions(self) -> Captions:
        entries = scan(self._path)
        before = self._texts
        self._texts = {}
        images, pairing = self._paired(entries)
        texts: dict[str, str] = {}
        undecodable = []
        refused: dict[str, str] = {}
        num_characters = 0
        for name in images:
            caption = entries.get(pairing.of.get(name, ""))
            if caption is None:
                texts[name] = ""
                continue
            try:
                read = _caption(caption, before.get(caption.name))
            except UnsafeFile as error:
                read, refused[caption.name] = _Caption(None, ""), error.reason
            undecodable += [] if read.is_decodable else [caption.name]
            texts[name] = read.text
            num_characters += len(read.text)
            if read.signature is not None and num_characters <= MAX_KEPT_CHARACTERS:
                self._texts[caption.name] = read
        return Captions(texts, pairing, tuple(dict.fromkeys(undecodable)), refused)

    def _paired(self, entries: dict[str, os.DirEntry[str]]) -> tuple[list[str], Pairing]:
        """Return the images in order, and the pairing, which stays the same while no file is added or removed."""
        files = frozenset(files_among(entries))
        if self._listing is None or self._listing.files != files:
            images = tuple(sorted(filter(is_image_name, files), key=natural_key))
            self._listing = _Listing(files, images, _pair(files, self._extension))
        return [name for name in self._listing.images if _is_file(entries[name])], self._listing.pairing


def _file_id(entry: os.DirEntry[str]) -> FileId | None:
    try:
        return FileId.of(entry)
    except OSError:
        return None  # removed since it was listed


def _digest(file: FileId) -> bytes:
    """Return a hash of an image's content. An unreadable file gets a hash that no other file has; reading its size reports the problem."""
    try:
        return content_digest(Path(file.path))
    except OSError:
        return repr(file).encode()


def _subfolders(path: Path) -> dict[str, int]:
    try:
        return images_in_subfolders(path)
    except OSError:
        return {}  # no such folder, or one that the other reads report


def pair_entries(entries: dict[str, os.DirEntry[str]], extension: str = CAPTION) -> Pairing:
    """Return which of a folder's files is the caption of which image."""
    return _pair(files_among(entries), extension)


def files_among(entries: dict[str, os.DirEntry[str]]) -> set[str]:
    """Return the names of the entries that are not folders."""
    return {name for name, entry in entries.items() if not is_folder(entry)}


def _pair(files: Iterable[str], extension: str) -> Pairing:
    return pair_captions(files, extension, fallback="" if extension == CAPTION else CAPTION)


def scan(path: Path) -> dict[str, os.DirEntry[str]]:
    """Return a folder's entries by name, {} if there is no folder.

    Raises:
        StorageError: If it cannot be read.
        DatasetError: If it is the images' folder of a run or draft, and a link.
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
    return {name: entry for name, entry in entries.items() if is_image_name(name) and _is_file(entry)}


def not_files_among(entries: dict[str, os.DirEntry[str]]) -> tuple[str, ...]:
    """Return the names of entries that have an image's name and are not files: folders, pipes, devices, links that lead nowhere."""
    return tuple(sorted(name for name, entry in entries.items() if is_image_name(name) and not _is_file(entry)))


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False  # a link to itself


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Return True if an entry is a folder, or a link to one."""
    try:
        return entry.is_dir()
    except OSError:
        return False  # a link to itself


def _caption(entry: os.DirEntry[str], before: _Caption | None) -> _Caption:
    """Return a caption file's content: `before` if the file is unchanged, and an empty text without signature if it cannot be read.

    Raises:
        UnsafeFile: If it is a link, a pipe, a device or too large: its content would be shown and trained.
    """
    try:
        status = entry.stat(follow_symlinks=False)
        signature = status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size
        if before is not None and before.signature == signature:
            return before
        return _decoded(signature, read_regular(entry.path, MAX_CAPTION_BYTES))
    except UnsafeFile:
        raise
    except OSError:
        return _Caption(None, "")


def read_caption(path: Path) -> str:
    """Return the text of a caption file as the page shows it, with replaced characters if its encoding is not known; "" if it cannot be read."""
    try:
        return _decoded(None, read_regular(path, MAX_CAPTION_BYTES)).text
    except OSError:
        return ""


def _decoded(signature: Signature | None, data: bytes) -> _Caption:
    try:
        return _Caption(signature, decode_caption(data))
    except UnicodeDecodeError:
        return _Caption(signature, data.decode("utf-8", "replace").strip(), is_decodable=False)


class FolderIndexes:
    """The indexes of the folders that requests and plans read; only the MAX_FOLDERS folders used last keep theirs. Thread-safe."""

    def __init__(self) -> None:
        self._index_of = functools.lru_cache(maxsize=MAX_FOLDERS)(FolderIndex)

    def of(self, path: Path, extension: str = CAPTION) -> FolderIndex:
        """Return the index of a folder with captions of an extension, the same one each time."""
        return self._index_of(path, extension)

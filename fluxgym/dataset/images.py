"""Check image files, and return their sizes and thumbnails. Results are cached by the file's identity, so that a rename keeps them.

Images are opened only in pools of worker processes. Headers have a separate pool, so that they do not wait for images that are decoded.
"""

import functools
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeVar

from fluxgym.contract.images.formats import UnusableImage
from fluxgym.contract.images.pool import ImagePool, ImageRequest, ImageResult, NoWorker, WorkerProgram
from fluxgym.errors import BadImage, DatasetError
from fluxgym.runs.detached import PROJECT
from fluxgym.runs.storage_errors import raise_if_exhausted

MAX_THUMBNAILS = 1000  # about 15 kB each
MAX_SIZES = 200_000
WORKER = WorkerProgram(module="fluxgym.dataset.image_worker", folder=PROJECT, time_limit_s=90.0, max_reply_bytes=4 << 20)
HEADERS = ImagePool(1, WORKER)
NUM_DECODERS = 2
DECODERS = ImagePool(NUM_DECODERS, WORKER)
Result = TypeVar("Result")


class ImageSize(NamedTuple):
    """An image's size after EXIF rotation."""

    width: int
    height: int


@dataclass(frozen=True)
class FileId:
    """A file's identity: equal for all its names and links until its content changes."""

    device: int
    inode: int
    mtime_ns: int
    size: int
    path: str = field(compare=False)

    @classmethod
    def of(cls, file: Path | os.DirEntry[str]) -> "FileId":
        """Return a file's identity.

        Raises:
            OSError: If it does not exist.
        """
        status = file.stat()
        return cls(status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size, os.path.abspath(file))  # noqa: PTH100 (keeps links)


def check_image(path: Path) -> ImageSize:
    """Decode an image completely, once per content, and return its size.

    Raises:
        BadImage: If it is not an image, damaged or out of bounds.
    """
    return _named(path.name, lambda: _DECODED.check(FileId.of(path)))


def image_problems(paths: Sequence[Path], *, may_decode: bool) -> list[DatasetError] | None:
    """Return why images cannot be trained, [] if all can, after decoding NUM_DECODERS at a time; None if decoding is necessary and not allowed.

    Content that was accepted once is not decoded again.
    """
    if not may_decode:
        known = [_DECODED.known(path) for path in paths]
        return None if None in known else [result for result in known if isinstance(result, DatasetError)]

    def problem(path: Path) -> DatasetError | None:
        try:
            check_image(path)
        except DatasetError as error:
            return error
        return None

    with ThreadPoolExecutor(NUM_DECODERS) as threads:
        return [found for found in threads.map(problem, paths) if found is not None]


def read_size(file: Path | os.DirEntry[str]) -> ImageSize:
    """Return an image's size, from the cache or from its header.

    Raises:
        BadImage: If it cannot be read or is out of bounds.
    """
    return _named(file.name, lambda: _read_size(FileId.of(file)))


def thumbnail(path: Path, side: int) -> bytes:
    """Return an upright JPEG of an image, at most side pixels wide and high.

    Raises:
        BadImage: If it cannot be read.
    """
    return _named(path.name, lambda: _thumbnail(FileId.of(path), side))


def _named(name: str, action: Callable[[], Result]) -> Result:
    """Return the result of an action; its errors name the file."""
    try:
        return action()
    except UnusableImage as error:
        raise BadImage(f"{name} {error}", field="images") from None
    except OSError as error:
        raise_if_exhausted(error, Path(name))
        raise BadImage(f"{name} cannot be read ({error.strerror}); remove it or add it again.", field="images") from None


def _run(pool: ImagePool, request: ImageRequest) -> ImageResult:
    """Return the result of a request.

    Raises:
        DatasetError: If no process can be started.
    """
    try:
        return pool.run(request)
    except NoWorker as error:
        raise_if_exhausted(error.error, Path(sys.executable))
        raise DatasetError(f"Images cannot be checked now ({error.error.strerror}); try again in a moment.", field="images") from None


class _DecodedImages:
    """Results of images that this process decoded completely, at most MAX_SIZES. Thread-safe.

    A refused image is decoded again when it is checked again: memory may have run out.
    """

    def __init__(self) -> None:
        self._known: dict[FileId, ImageSize | str] = {}

    def known(self, path: Path) -> ImageSize | DatasetError | None:
        """Return an image's size, or why it was refused; None if this content was not decoded yet."""
        try:
            known = self._known.get(FileId.of(path))
        except OSError:
            return None
        return BadImage(f"{path.name} {known}", field="images") if isinstance(known, str) else known

    def check(self, file: FileId) -> ImageSize:
        """Return the size of an image that can be decoded.

        Raises:
            UnusableImage: If it cannot.
        """
        known = self._known.get(file)
        if isinstance(known, ImageSize):
            return known
        try:
            result = _run(DECODERS, ImageRequest(action="check", path=file.path))
        except UnusableImage as error:
            self._keep(file, str(error))
            raise
        self._keep(file, size := ImageSize(result.width, result.height))
        return size

    def _keep(self, file: FileId, found: ImageSize | str) -> None:
        while len(self._known) >= MAX_SIZES:
            self._known.pop(next(iter(self._known)), None)
        self._known[file] = found


_DECODED = _DecodedImages()


@functools.lru_cache(maxsize=MAX_SIZES)
def _read_size(file: FileId) -> ImageSize:
    result = _run(HEADERS, ImageRequest(action="size", path=file.path))
    return ImageSize(result.width, result.height)


@functools.lru_cache(maxsize=MAX_THUMBNAILS)
def _thumbnail(file: FileId, side: int) -> bytes:
    return _run(DECODERS, ImageRequest(action="thumbnail", path=file.path, side=side)).data

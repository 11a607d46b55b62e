"""Check image files, and return their sizes and thumbnails. Results are cached by the file's identity, so that a rename keeps them.

Images are opened only in pools of worker processes. Headers have a separate pool, so that they do not wait for images that are decoded.
"""

import functools
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum
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
    """Decode an image completely and return its size.

    Raises:
        BadImage: If it is not an image, damaged or out of bounds.
    """
    return DecodedImages().check(path)


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


class DecodedImages:
    """The results of decoding images completely, by the file's identity, of at most MAX_SIZES images. Thread-safe.

    A refused image is decoded again when it is checked again: memory may have run out.
    """

    def __init__(self) -> None:
        self._results: dict[FileId, ImageSize | str] = {}

    def check(self, path: Path) -> ImageSize:
        """Decode an image completely, once per content, and return its size.

        Raises:
            BadImage: If it is not an image, damaged or out of bounds.
        """
        return _named(path.name, lambda: self._decode(FileId.of(path)))

    def problems(self, paths: Sequence[Path], *, may_decode: bool) -> list[DatasetError] | None:
        """Return why images cannot be trained, [] if all can, after decoding NUM_DECODERS at a time; None if decoding is necessary and not allowed.

        Content that was accepted once is not decoded again.
        """
        if not may_decode:
            results = [self._result(path) for path in paths]
            return None if None in results else [each for each in results if isinstance(each, DatasetError)]
        with ThreadPoolExecutor(NUM_DECODERS) as threads:
            return [problem for problem in threads.map(self._problem, paths) if problem is not None]

    def _problem(self, path: Path) -> DatasetError | None:
        try:
            self.check(path)
        except DatasetError as error:
            return error
        return None

    def _result(self, path: Path) -> ImageSize | DatasetError | None:
        """Return an image's size, or why it was refused; None if this content was not decoded yet."""
        try:
            result = self._results.get(FileId.of(path))
        except OSError:
            return None
        return BadImage(f"{path.name} {result}", field="images") if isinstance(result, str) else result

    def _decode(self, file: FileId) -> ImageSize:
        earlier = self._results.get(file)
        if isinstance(earlier, ImageSize):
            return earlier
        try:
            result = _run(DECODERS, ImageRequest(action="check", path=file.path))
        except UnusableImage as error:
            self._add(file, str(error))
            raise
        self._add(file, size := ImageSize(result.width, result.height))
        return size

    def _add(self, file: FileId, result: ImageSize | str) -> None:
        while len(self._results) >= MAX_SIZES:
            self._results.pop(next(iter(self._results)), None)
        self._results[file] = result


class MaskChannel(StrEnum):
    """The channel of an image that is a mask: also the action of the worker."""

    RED = "red"
    ALPHA = "alpha"


class MaskLevels:
    """The largest value of masks, by the file's identity and the channel, of at most MAX_SIZES images. Thread-safe."""

    def __init__(self) -> None:
        self._levels: dict[tuple[FileId, MaskChannel], int] = {}

    def are_known(self, paths: Iterable[Path], channel: MaskChannel) -> bool:
        """Return True if no mask has to be decoded."""
        try:
            return all((FileId.of(path), channel) in self._levels for path in paths)
        except OSError:
            return False

    def brightest(self, path: Path, channel: MaskChannel) -> int:
        """Return the largest value of a mask, 0 to 255, decoded once per content.

        Raises:
            BadImage: If it cannot be read.
        """
        return _named(path.name, lambda: self._read(FileId.of(path), channel))

    def _read(self, file: FileId, channel: MaskChannel) -> int:
        if (known := self._levels.get((file, channel))) is not None:
            return known
        while len(self._levels) >= MAX_SIZES:
            self._levels.pop(next(iter(self._levels)), None)
        level = self._levels[file, channel] = _run(DECODERS, ImageRequest(action=channel, path=file.path)).data[0]
        return level


@functools.lru_cache(maxsize=MAX_SIZES)
def _read_size(file: FileId) -> ImageSize:
    """Return the size from an image's header, read once per content; at most MAX_SIZES are cached."""
    result = _run(HEADERS, ImageRequest(action="size", path=file.path))
    return ImageSize(result.width, result.height)


@functools.lru_cache(maxsize=MAX_THUMBNAILS)
def _thumbnail(file: FileId, side: int) -> bytes:
    """Return a thumbnail, made once per content and size; at most MAX_THUMBNAILS are cached."""
    return _run(DECODERS, ImageRequest(action="thumbnail", path=file.path, side=side)).data

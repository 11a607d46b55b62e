"""Receive an uploaded file: the size is checked before reading, and only a complete temporary file is moved into the dataset."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request

from fluxgym.contract.images.formats import MAX_FILE_BYTES as MAX_IMAGE_BYTES
from fluxgym.dataset.arrivals import Arrival
from fluxgym.dataset.folder import ImageFolder
from fluxgym.errors import DatasetError, StorageError, TooLarge
from fluxgym.runs.disk_space import MIN_FREE_BYTES
from fluxgym.runs.storage_errors import storage_error
from fluxgym.sessions.cleanup import UPLOAD_PREFIX, remove_interrupted_uploads
from fluxgym.sessions.transfer import IMPORT_EXTENSIONS
from fluxgym.ui.api.image_threads import run_in_image_thread

MAX_ARCHIVE_BYTES = 8 << 30
MAX_CAPTION_BYTES = 64 << 10
CHECK_BYTES = 8 << 20
IDLE_S = 60.0


async def receive(
    request: Request,
    name: str,
    folder: ImageFolder,
    *,
    prepare: Callable[[], object] = lambda: None,
    keep: Callable[[Path], object] = lambda _: None,
) -> Arrival:
    """Add a request's image or caption to a folder; prepare is called before a valid one is added, keep with a caption before it is replaced.

    Raises:
        TooLarge: If the file exceeds its limit.
        DatasetError: If it is not a valid image or caption, or the connection broke.
        StorageError: If the disk is full or cannot be written.
    """
    is_caption = name.lower().endswith(".txt")
    limit = MAX_CAPTION_BYTES if is_caption else MAX_IMAGE_BYTES
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        raise _too_large(name, limit)
    path = await run_in_threadpool(_prepare, folder.path.parent, int(declared) if declared.isdigit() else limit)
    try:
        await _write(request.stream(), path, name, limit)
        run = run_in_threadpool if is_caption else run_in_image_thread
        return await run(partial(folder.add, path, name, prepare=prepare, keep=keep))
    except ClientDisconnect:
        raise DatasetError(f"{name}: the connection was interrupted; upload it again.", field="images") from None
    except OSError as error:
        raise storage_error(error, folder.path / name) from error
    finally:
        path.unlink(missing_ok=True)


async def receive_archive(request: Request, name: str, folder: Path) -> Path:
    """Write a request's exported archive to a temporary file and return it; the caller removes it.

    Raises:
        TooLarge, DatasetError, StorageError: As `receive` does.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > MAX_ARCHIVE_BYTES:
        raise _too_large(name, MAX_ARCHIVE_BYTES)
    path = await run_in_threadpool(_prepare, folder, int(declared) if declared.isdigit() else 0, _ending_of(name))
    try:
        await _write(request.stream(), path, name, MAX_ARCHIVE_BYTES)
        return path
    except BaseException as error:
        path.unlink(missing_ok=True)
        if isinstance(error, ClientDisconnect):
            raise DatasetError(f"{name}: the connection was interrupted; import it again.") from None
        if isinstance(error, OSError):
            raise storage_error(error, path) from error
        raise


def _ending_of(name: str) -> str:
    """Return the ending of an uploaded file's name if an import knows it, else "": the import depends on it."""
    ending = Path(name).suffix.lower()
    return ending if ending in IMPORT_EXTENSIONS else ""


async def _write(stream: AsyncIterator[bytes], path: Path, name: str, limit: int) -> None:
    received = 0
    with path.open("wb") as file:
        async for chunk in _in_time(stream, name):
            if received // CHECK_BYTES != (received + len(chunk)) // CHECK_BYTES:
                await run_in_threadpool(_check_disk_space, path.parent, len(chunk))  # others upload and train meanwhile
            received += len(chunk)
            if received > limit:
                raise _too_large(name, limit)
            await run_in_threadpool(file.write, chunk)
    if not received:
        raise DatasetError(f"{name} is empty.", field="images")


async def _in_time(stream: AsyncIterator[bytes], name: str) -> AsyncIterator[bytes]:
    """Yield the chunks of a stream.

    Raises:
        DatasetError: If none arrives for IDLE_S seconds, so that the temporary file is removed.
    """
    while True:
        try:
            yield await asyncio.wait_for(anext(stream), IDLE_S)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise DatasetError(f"{name}: no data arrived for {IDLE_S:.0f} seconds; upload it again.", field="images") from None


def _check_disk_space(folder: Path, expected: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < expected + MIN_FREE_BYTES:
        raise StorageError(f"Only {free >> 20} MB are free on the disk of {folder}; free disk space and upload the file again.")


def _prepare(folder: Path, expected: int, ending: str = "") -> Path:
    """Create the folder and a temporary file in it, whose name has the ending.

    Raises:
        StorageError: If expected bytes do not fit on the disk.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        remove_interrupted_uploads(folder)
        _check_disk_space(folder, expected)
        handle = tempfile.NamedTemporaryFile(dir=folder, prefix=UPLOAD_PREFIX, suffix=ending, delete=False)  # noqa: SIM115 (used after this function)
        handle.close()
    except OSError as error:
        raise storage_error(error, folder) from error
    return Path(handle.name)


def _too_large(name: str, limit: int) -> TooLarge:
    words = f"{limit // 10**6} MB" if limit >= 10**6 else f"{limit // 1000} kB"
    return TooLarge(f"{name} is larger than {words}; make it smaller.", field="images")

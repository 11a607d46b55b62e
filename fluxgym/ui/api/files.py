"""The file routes: download of samples, LoRA files, exports and thumbnails; upload of images, captions and archives."""

import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, BinaryIO
from urllib.parse import quote

from fastapi import APIRouter, Query, Request
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse, PlainTextResponse, Response, StreamingResponse

from fluxgym.app_settings import Settings
from fluxgym.contract.files import SAMPLE_FOLDER
from fluxgym.contract.limits import MAX_NAME_BYTES
from fluxgym.contract.regular_files import open_regular
from fluxgym.dataset.caches import DatasetCaches
from fluxgym.dataset.folder import ImageFolder
from fluxgym.dataset.images import thumbnail
from fluxgym.errors import DatasetError, FluxGymError, ImportRefused, SessionError, SessionNotFound
from fluxgym.runs.path_checks import is_regular, is_served
from fluxgym.runs.paths import OutputsPaths
from fluxgym.runs.storage_errors import storage_error
from fluxgym.sessions.backup import backup
from fluxgym.sessions.draft_edits import DraftEdits
from fluxgym.sessions.drafts import open_draft
from fluxgym.sessions.transfer import Export, export_state, import_file, stream_archive
from fluxgym.ui.api.answers import Imported, Uploaded
from fluxgym.ui.api.image_threads import run_in_image_thread
from fluxgym.ui.api.responses import REFUSALS, DescribedRoute
from fluxgym.ui.api.uploads import receive, receive_archive

THUMB_SIDE = 320
CHUNK_BYTES = 1 << 18
NOT_FOUND = PlainTextResponse("There is nothing at this address.", 404)
WITH_IMAGES = Export(images=True)
EXPORTS = {
    "state.json": None, "with-images.zip": WITH_IMAGES, "with-pictures.zip": WITH_IMAGES, "everything.zip": Export(images=True, lora=True),
}  # fmt: skip
ARCHIVES = {"settings.zip": Export(), "with-images.zip": WITH_IMAGES, "everything.zip": Export(images=True, lora=True)}  # of several runs
MAX_EXPORTED = 200
CACHE_ONE_DAY = {"Cache-Control": "private, max-age=86400"}
REVALIDATE = {"Cache-Control": "no-cache"}


@dataclass(frozen=True, kw_only=True)
class RunFile:
    """A kind of files of a run: its subfolder, the end of its names, and how a browser receives it."""

    folder: str = ""
    suffix: str
    media_type: str
    headers: Mapping[str, str]
    is_download: bool = False


SAMPLE = RunFile(folder=SAMPLE_FOLDER, suffix=".png", media_type="image/png", headers=CACHE_ONE_DAY)
LORA = RunFile(suffix=".safetensors", media_type="application/octet-stream", headers=REVALIDATE, is_download=True)


class FileRoutes:
    """The routes under /fluxgym/ that send and receive files."""

    def __init__(self, settings: Settings, caches: DatasetCaches | None = None) -> None:
        self._settings = settings
        self._caches = caches or DatasetCaches()
        self._outputs = OutputsPaths(settings.outputs)

    @property
    def router(self) -> APIRouter:
        """The routes, to be included in the application. The OpenAPI description has those that answer in JSON."""
        router = APIRouter(prefix="/fluxgym", route_class=DescribedRoute, responses=REFUSALS)
        downloads: dict[str, Callable[..., object]] = {
            "/runs/{slug}/samples/{name}": self.sample, "/runs/{slug}/loras/{name}": self.lora,
            "/runs/{slug}/training.log": self.log, "/runs/{slug}/export/{name}": self.export, "/export/{name}": self.export_several,
            "/states.tar.gz": self.states,
        }  # fmt: skip
        for folder in ("images", "pictures"):  # "pictures" is the path of earlier versions
            downloads |= {f"/runs/{{slug}}/{folder}/{{name}}": self.run_image, f"/drafts/{{draft}}/{folder}/{{name}}": self.draft_image}
        for path, endpoint in downloads.items():
            router.add_api_route(path, endpoint, include_in_schema=False)
        router.add_api_route("/import/{name}", self.import_archive, methods=["PUT"], response_model=Imported)
        router.add_api_route("/drafts/{draft}/images/{name}", self.upload, methods=["PUT"], response_model=Uploaded)
        router.add_api_route("/drafts/{draft}/pictures/{name}", self.upload, methods=["PUT"], include_in_schema=False)
        return router

    def sample(self, slug: str, name: str) -> Response:
        """Send a sample image."""
        return self._file(slug, name, SAMPLE)

    def lora(self, slug: str, name: str) -> Response:
        """Send a LoRA file as a download."""
        return self._file(slug, name, LORA)

    def _file(self, slug: str, name: str, kind: RunFile) -> Response:
        """Send a regular file of a run; links and paths give 404."""
        try:
            run = self._outputs.run(slug)
        except SessionNotFound:
            return NOT_FOUND
        path = run.folder / kind.folder / name
        is_name = name == Path(name).name and not name.startswith(".") and name.endswith(kind.suffix)
        is_name = is_name and len(os.fsencode(name)) <= MAX_NAME_BYTES
        if not is_name or not is_regular(run.ui_state) or not is_served(path):
            return NOT_FOUND
        return FileResponse(path, media_type=kind.media_type, headers=kind.headers, filename=name if kind.is_download else None)

    def log(self, slug: str) -> Response:
        """Send the whole training.log as a download: as much as there is now, because the trainer may append to it meanwhile."""
        try:
            run = self._outputs.run(slug)
            if run.folder.resolve() != run.folder or not is_regular(run.ui_state):
                return NOT_FOUND
            file = open_regular(run.training_log)
        except (SessionNotFound, OSError):
            return NOT_FOUND
        size = os.fstat(file.fileno()).st_size
        headers = {"Content-Length": str(size), "Content-Disposition": f"attachment; filename*=UTF-8''{quote(f'{run.slug}-training.log')}"}
        return StreamingResponse(_first_bytes(file, size), media_type="text/plain; charset=utf-8", headers=headers | REVALIDATE)

    def export(self, slug: str, name: str) -> Response:
        """Send a run's state, or a ZIP archive with its images and model, which is created while it is sent."""
        try:
            run = self._outputs.run(slug)
        except SessionNotFound:
            return NOT_FOUND
        if name not in EXPORTS or not is_regular(run.ui_state):
            return NOT_FOUND
        export = EXPORTS[name]
        if export is None:
            return self._temporary(partial(export_state, run), f"{run.slug}.json")
        chunks = stream_archive([run], export)
        headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{quote(f'{run.slug}-{name}')}"}
        return StreamingResponse(chunks, media_type="application/zip", headers=headers)

    def export_several(self, name: str, slug: Annotated[list[str], Query()]) -> Response:
        """Send a ZIP archive of several runs: their settings, with or without images and models, depending on the name."""
        if name not in ARCHIVES:
            return NOT_FOUND
        if len(set(slug)) > MAX_EXPORTED:
            raise SessionError(f"At most {MAX_EXPORTED} runs are exported at once. Select fewer.")
        runs = [run for run in map(self._outputs.run, dict.fromkeys(slug)) if is_regular(run.ui_state)]
        headers = {"Content-Disposition": f"attachment; filename=fluxgym-runs-{name}"}
        return StreamingResponse(stream_archive(runs, ARCHIVES[name]), media_type="application/zip", headers=headers)

    def states(self) -> Response:
        """Send the states of all runs as a .tar.gz, with the paths that the guide's tar command writes."""
        return self._temporary(partial(backup, self._settings.outputs), "fluxgym-states-backup.tar.gz")

    def _temporary(self, write: Callable[[Path], object], filename: str) -> Response:
        """Send a temporary file that write creates; it is removed afterwards."""
        path = self._outputs.new / f"export-{secrets.token_hex(8)}"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write(path)
        except BaseException as error:
            with suppress(OSError):  # the folder cannot be written
                path.unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise storage_error(error, path.parent) from error
            raise
        return FileResponse(path, media_type="application/octet-stream", filename=filename, background=BackgroundTask(path.unlink))

    async def import_archive(self, name: str, request: Request) -> Imported:
        """Receive an exported file and create its runs."""
        path = await receive_archive(request, name, self._outputs.new)
        try:
            runs = await run_in_image_thread(partial(import_file, path, self._outputs))
        except ImportRefused as error:
            raise ImportRefused(str(error).replace(path.name, name[:120])) from None
        finally:
            path.unlink(missing_ok=True)
        return Imported(slugs=[run.slug for run in runs])

    async def run_image(self, slug: str, name: str) -> Response:
        """Send a thumbnail of one of a run's images."""
        try:
            run = self._outputs.run(slug)
        except SessionNotFound:
            return NOT_FOUND
        return await _thumbnail(ImageFolder(run.dataset), name)

    async def draft_image(self, draft: str, name: str) -> Response:
        """Send a thumbnail of one of a draft's images."""
        try:
            folder = open_draft(self._settings.outputs, draft).images
        except FluxGymError:
            return NOT_FOUND
        return await _thumbnail(folder, name)

    async def upload(self, draft: str, name: str, request: Request, source: str = "", edit: str = "") -> Uploaded:
        """Receive one image or caption into a draft, after copying the images of the run that the form shows (source).

        edit is the token with which the uploads of one drop are undone.
        """
        own = open_draft(self._settings.outputs, draft)
        run = self._outputs.run(source) if source else None
        if run is not None:
            await run_in_threadpool(own.check_shows, run)
        prepare = partial(own.copy_images_from, run) if run is not None else lambda: None
        folder = self._caches.folder(own.images.path)
        token, changes = DraftEdits(own).upload(edit)
        arrival = await receive(request, name, folder, prepare=prepare, keep=changes.keep)
        await run_in_threadpool(changes.record, folder.path / arrival.name, arrival.outcome)
        undo = token if arrival.outcome.can_be_undone else ""
        return Uploaded(source="", name=arrival.name, outcome=arrival.outcome, undo=undo)


def _first_bytes(file: BinaryIO, size: int) -> Iterator[bytes]:
    """Yield the first bytes of a file that may grow, and close it; what was cut off meanwhile is missing."""
    with file:
        while size > 0 and (chunk := file.read(min(size, CHUNK_BYTES))):
            size -= len(chunk)
            yield chunk


async def _thumbnail(folder: ImageFolder, name: str) -> Response:
    try:
        data = await run_in_image_thread(lambda: thumbnail(folder.image_path(name), THUMB_SIDE))
    except DatasetError:
        return NOT_FOUND
    return Response(data, media_type="image/jpeg", headers=CACHE_ONE_DAY)

"""The app as a server: Gradio mounted in an own FastAPI app behind the guard, and the few routes for files. Nothing else is served.

Files that go out are the page's own assets, a run's sample images and LoRA files, its export, and thumbnails made of a data set's images;
files that come in are one image or caption a request, or one exported file.
"""

import errno
import os
import secrets
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from urllib.parse import quote

import gradio as gr
from fastapi import FastAPI, Request
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse

from fluxgym.app_settings import Settings
from fluxgym.contract.files import SAMPLE_FOLDER
from fluxgym.dataset.folder import ImageFolder
from fluxgym.dataset.images import thumbnail
from fluxgym.errors import DatasetError, FluxGymError, ImportRefused, SessionNotFound, SettingsError, TooLarge
from fluxgym.runs.paths import MAX_NAME_BYTES, OutputsPaths
from fluxgym.sessions.cleanup import backup
from fluxgym.sessions.drafts import open_draft
from fluxgym.sessions.transfer import Export, export_state, import_file, stream_archive
from fluxgym.ui import theme
from fluxgym.ui.api.uploads import receive, receive_whole
from fluxgym.ui.page import ASSETS, build_page, head
from fluxgym.ui.security.guard import Guard, bad_request
from fluxgym.ui.security.token_auth import TokenAuth

THUMB_SIDE = 320
ASSET_TYPES = {".js": "text/javascript", ".css": "text/css"}
NOTHING = PlainTextResponse("There is nothing at this address.", 404)
EXPORTS = {"state.json": None, "with-pictures.zip": Export(images=True), "everything.zip": Export(images=True, lora=True)}
FOR_A_DAY = {"Cache-Control": "private, max-age=86400"}
ASK_AGAIN = {"Cache-Control": "no-cache"}


def make_server(settings: Settings) -> Guard:
    """Return the whole app, guard outside; `settings.token` decides whether anybody is asked for it."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    FileRoutes(settings).add_to(app)
    gr.mount_gradio_app(
        app, build_page(settings), path="", root_path=settings.root_path or None, theme=theme.theme(), head=head(settings.root_path),
        footer_links=[], run_history=False, enable_monitoring=False, ssr_mode=False, show_error=False, pwa=False, mcp_server=False,
    )  # fmt: skip
    return Guard(
        app,
        door=TokenAuth(settings.token, settings.port),
        allowed_hosts=settings.allowed_hosts,
        beyond_loopback=not settings.is_loopback,
        root_path=settings.root_path,
    )


def listen(settings: Settings) -> socket.socket:
    """Return the listening socket; raises SettingsError in one plain sentence when the port or address cannot be had."""
    try:
        family, kind, *_, address = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.socket(family, kind)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)
    except (OSError, UnicodeError) as error:
        taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        why = "is taken already; close the other program" if taken else f"cannot be used ({error})"
        raise SettingsError(f"Port {settings.port} on {settings.host} {why}, or choose another with --port.") from None
    return listener


class FileRoutes:
    """The routes under /fluxgym/ that send and take files."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._outputs = OutputsPaths(settings.outputs)

    def add_to(self, app: FastAPI) -> None:
        """Add the routes."""
        app.add_api_route("/fluxgym/assets/{name}", self.asset)
        app.add_api_route("/fluxgym/runs/{slug}/samples/{name}", self.sample)
        app.add_api_route("/fluxgym/runs/{slug}/loras/{name}", self.lora)
        app.add_api_route("/fluxgym/runs/{slug}/pictures/{name}", self.run_image)
        app.add_api_route("/fluxgym/runs/{slug}/export/{name}", self.export)
        app.add_api_route("/fluxgym/states.tar.gz", self.states)
        app.add_api_route("/fluxgym/import/{name}", self.take_in, methods=["PUT"])
        app.add_api_route("/fluxgym/drafts/{draft}/pictures/{name}", self.draft_image)
        app.add_api_route("/fluxgym/drafts/{draft}/pictures/{name}", self.upload, methods=["PUT"])

    def asset(self, name: str) -> Response:
        """Send one of the page's own scripts or its style sheet."""
        path = next((path for path in ASSETS.iterdir() if path.name == name), None)
        if path is None or path.suffix not in ASSET_TYPES:
            return NOTHING
        return FileResponse(path, media_type=ASSET_TYPES[path.suffix], headers=ASK_AGAIN)

    def sample(self, slug: str, name: str) -> Response:
        """Send a sample image."""
        return self._file(slug, SAMPLE_FOLDER, name, ".png", "image/png", FOR_A_DAY)

    def lora(self, slug: str, name: str) -> Response:
        """Send a LoRA file to be kept."""
        return self._file(slug, "", name, ".safetensors", "application/octet-stream", ASK_AGAIN, filename=name)

    def _file(
        self, slug: str, folder: str, name: str, suffix: str, media_type: str, headers: dict[str, str], filename: str | None = None
    ) -> Response:
        """Send a plain file that lies directly in a run's folder or its named part; links and other names are not there."""
        try:
            run = self._outputs.run(slug)
        except SessionNotFound:
            return NOTHING
        path = run.folder / folder / name
        is_name = (
            name == Path(name).name and not name.startswith(".") and name.endswith(suffix) and len(os.fsencode(name)) <= MAX_NAME_BYTES
        )
        if not is_name or not run.ui_state.is_file() or path.is_symlink() or path.parent.resolve() != path.parent or not path.is_file():
            return NOTHING
        return FileResponse(path, media_type=media_type, headers=headers, filename=filename)

    def export(self, slug: str, name: str) -> Response:
        """Send a run's state, or an archive with its images and model, which is packed while it is sent."""
        try:
            run = self._outputs.run(slug)
        except SessionNotFound:
            return NOTHING
        if name not in EXPORTS or not run.ui_state.is_file():
            return NOTHING
        what = EXPORTS[name]
        if what is None:
            return self._made(partial(export_state, run), f"{run.slug}.json")
        try:
            pieces = stream_archive(run, what)
        except FluxGymError as error:
            return bad_request(str(error))
        named = {"Content-Disposition": f"attachment; filename*=UTF-8''{quote(f'{run.slug}-{name}')}"}
        return StreamingResponse(pieces, media_type="application/zip", headers=named)

    def states(self) -> Response:
        """Send all states in an archive, as the guide's own tar command makes it."""
        return self._made(partial(backup, self._settings.outputs), "fluxgym-states-backup.tar.gz")

    def _made(self, write: Callable[[Path], object], filename: str) -> Response:
        """Send a small file that is made for this request and removed after it: states alone."""
        path = self._outputs.own / "new" / f"export-{secrets.token_hex(8)}"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write(path)
        except (FluxGymError, OSError) as error:
            path.unlink(missing_ok=True)
            return bad_request(str(error))
        return FileResponse(path, media_type="application/octet-stream", filename=filename, background=BackgroundTask(path.unlink))

    async def take_in(self, name: str, request: Request) -> Response:
        """Take an exported file and make runs of it."""
        try:
            path = await receive_whole(request, name, self._outputs.own / "new")
            try:
                runs = await run_in_threadpool(import_file, path, self._outputs)
            except ImportRefused as error:
                raise ImportRefused(str(error).replace(path.name, name[:120])) from None
            finally:
                path.unlink(missing_ok=True)
            return JSONResponse({"slugs": [run.slug for run in runs]})
        except FluxGymError as error:
            return bad_request(str(error), 413 if isinstance(error, TooLarge) else 400)

    def run_image(self, slug: str, name: str) -> Response:
        """Send a thumbnail of one of a run's images."""
        try:
            run = self._outputs.run(slug)
        except SessionNotFound:
            return NOTHING
        return _thumbnail(ImageFolder(run.dataset), name)

    def draft_image(self, draft: str, name: str) -> Response:
        """Send a thumbnail of one of a draft's images."""
        try:
            return _thumbnail(open_draft(self._settings.outputs, draft).images, name)
        except FluxGymError:
            return NOTHING

    async def upload(self, draft: str, name: str, request: Request) -> Response:
        """Take one image or caption into a draft."""
        try:
            folder = open_draft(self._settings.outputs, draft).images
            return JSONResponse({"name": await receive(request, name, folder)})
        except FluxGymError as error:
            return bad_request(str(error), 413 if isinstance(error, TooLarge) else 400)


def _thumbnail(folder: ImageFolder, name: str) -> Response:
    try:
        return Response(thumbnail(folder.image_path(name), THUMB_SIDE), media_type="image/jpeg", headers=FOR_A_DAY)
    except DatasetError:
        return NOTHING

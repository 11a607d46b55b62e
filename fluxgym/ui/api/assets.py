"""The page's scripts, icons and vendored files, read and compressed once, under addresses that change with their contents.

The page's modules are one file, so that all of them are of one version. A browser caches an address for a year and sends no request when
the page is opened again.
"""

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from fluxgym.ui.api.bundle import BUNDLE, bundle

ASSETS = Path(__file__).parents[1] / "assets"
VENDOR = ASSETS / "vendor"  # released files of other projects, unchanged
MEDIA_TYPES = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}
KEEP = {"Cache-Control": "private, max-age=31536000, immutable", "Vary": "Accept-Encoding"}
REVALIDATE = {"Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
SCRIPTS_WITHOUT_CODE = ("types.js",)


@dataclass(frozen=True)
class Asset:
    """One file: its bytes, the same compressed, and its media type."""

    content: bytes
    compressed: bytes
    media_type: str


@dataclass(frozen=True)
class PageAssets:
    """All files by name, and a version that changes with any of them."""

    files: dict[str, Asset]
    version: str

    @property
    def folder(self) -> str:
        """The path of the files below the app's root."""
        return f"/fluxgym/assets/{self.version}"

    @property
    def script(self) -> str:
        """The path of the page's modules below the app's root."""
        return f"{self.folder}/{BUNDLE}"

    async def send(self, request: Request) -> Response:
        """Send a file. A page that was opened before the app was upgraded gets the present one."""
        asset = self.files.get(request.path_params["name"])
        if asset is None:
            return PlainTextResponse("There is nothing at this address.", 404)
        headers = KEEP if request.path_params["version"] == self.version else REVALIDATE
        if "gzip" in request.headers.get("accept-encoding", ""):
            return Response(asset.compressed, media_type=asset.media_type, headers=headers | {"Content-Encoding": "gzip"})
        return Response(asset.content, media_type=asset.media_type, headers=headers)

    @property
    def route(self) -> Route:
        """The route that sends the files."""
        return Route("/fluxgym/assets/{version}/{name}", self.send, methods=["GET"])


def read_assets() -> PageAssets:
    """Return the files as they are now."""
    own = set(ASSETS.glob("*.js"))
    modules = {path.stem: path.read_text(encoding="utf-8-sig") for path in own if path.name not in SCRIPTS_WITHOUT_CODE}
    others = {path for folder in (ASSETS, VENDOR) for path in folder.iterdir() if path.suffix in MEDIA_TYPES} - own
    contents = {path.name: path.read_bytes() for path in others} | {BUNDLE: bundle(dict(sorted(modules.items()))).encode()}
    digest = hashlib.sha256()
    for name, content in sorted(contents.items()):
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    files = {name: Asset(content, gzip.compress(content, 6, mtime=0), MEDIA_TYPES[Path(name).suffix]) for name, content in contents.items()}
    return PageAssets(files, digest.hexdigest()[:12])

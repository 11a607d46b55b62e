"""The page's scripts, icons and vendored files, read and compressed once, under addresses that change with their contents.

A browser caches an address for a year and sends no request when the page is opened again; scripts import one another by relative
address, so that all of them are of one version.
"""

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

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
    def scripts(self) -> list[str]:
        """The names of the page's own scripts."""
        return [name for name in self.files if name.endswith(".js") and (ASSETS / name).is_file() and name not in SCRIPTS_WITHOUT_CODE]

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
    paths = sorted(path for folder in (ASSETS, VENDOR) for path in folder.iterdir() if path.suffix in MEDIA_TYPES)
    contents = {path.name: path.read_bytes() for path in paths}
    digest = hashlib.sha256()
    for name, content in sorted(contents.items()):
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    files = {name: Asset(content, gzip.compress(content, mtime=0), MEDIA_TYPES[Path(name).suffix]) for name, content in contents.items()}
    return PageAssets(files, digest.hexdigest()[:12])

"""Export archives: written while they are sent, and unpacked safely."""

import io
import stat
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from fluxgym.contract.files import DATASET_FOLDER, UI_STATE, lora_name
from fluxgym.dataset.folder import CAPTION
from fluxgym.dataset.images import is_image_name
from fluxgym.errors import ImportRefused
from fluxgym.runs.state import MAX_BYTES

PACKED = (".safetensors", ".png", ".jpg", ".jpeg", ".webp", ".avif")
CHUNK = 1 << 20
MAX_ENTRIES = 20_000
MAX_DIRECTORY_BYTES = 8 << 20
MAX_FILE_BYTES = 4 << 30
MAX_TOTAL_BYTES = 16 << 30
MAX_RATIO = 200
CHUNK_UNPACK = 1 << 20
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError, ValueError, OverflowError)


class _Sink:
    """A file that cannot be sought in; what was written to it is taken out piece by piece."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._pieces.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Do nothing: whoever sends the pieces takes them as they come."""

    def taken(self) -> Iterator[bytes]:
        pieces, self._pieces = self._pieces, []
        yield from pieces


def pack(files: Iterable[tuple[Path, str]]) -> Iterator[bytes]:
    """Yield the bytes of an archive of (file, its name within). Raises OSError for a file that cannot be read, in the midst of it."""
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", strict_timestamps=False) as archive:  # type: ignore[call-overload]
        for path, name in files:
            if path.is_symlink():
                continue  # it may point to what is nobody's to send
            entry = zipfile.ZipInfo.from_file(path, name, strict_timestamps=False)
            entry.compress_type = zipfile.ZIP_STORED if path.suffix.lower() in PACKED else zipfile.ZIP_DEFLATED
            with path.open("rb") as source, archive.open(entry, "w") as target:
                while chunk := source.read(CHUNK):
                    target.write(chunk)
                    yield from sink.taken()
    yield from sink.taken()


class _Sips(io.FileIO):
    """A file of which no more is read at once than an archive's directory may take, whatever the archive says of its size."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > MAX_DIRECTORY_BYTES:
            raise ImportRefused(f"The archive's table of contents is larger than {MAX_DIRECTORY_BYTES >> 20} MB; it holds too many files.")
        return super().read(MAX_DIRECTORY_BYTES if size is None or size < 0 else size) or b""  # "the rest" is an archive's last 64 kB


def unpack(source: Path, staging: Path) -> list[Path]:
    """Unpack an archive of runs into `aside`; returns the runs' folders. Raises ImportRefused naming what has no place in an export."""
    with _opened(source) as archive:
        entries = archive.infolist()
        if len(entries) > MAX_ENTRIES:
            raise ImportRefused(f"{source.name} holds {len(entries)} files; at most {MAX_ENTRIES} are taken.")
        places = _places([entry for entry in entries if not entry.filename.endswith("/")])
        left = MAX_TOTAL_BYTES
        for place, entry in places.items():
            target = staging / place
            target.parent.mkdir(parents=True, exist_ok=True)
            left -= _write(archive, entry, target, left)
    if not places:
        raise ImportRefused(f"{source.name} is empty; export it again.")
    for name in sorted({place.parts[0] for place in places}):
        if PurePosixPath(name, UI_STATE) not in places:
            raise ImportRefused(f"The folder {name} in {source.name} has no ui_state.json, so it is no run.")
    return sorted(staging.iterdir())


@contextmanager
def _opened(source: Path) -> Iterator[zipfile.ZipFile]:
    with _Sips(source) as file:
        try:
            archive = zipfile.ZipFile(file)
        except DAMAGE as error:
            raise ImportRefused(f"{source.name} is no archive, or a damaged one ({error}); export it again.") from None
        with archive:
            yield archive


def _places(entries: list[zipfile.ZipInfo]) -> dict[PurePosixPath, zipfile.ZipInfo]:
    places: dict[PurePosixPath, zipfile.ZipInfo] = {}
    for entry in entries:
        place = _place(entry)
        if place in places:
            raise ImportRefused(f"The archive holds “{_shown(entry)}” twice.")
        places[place] = entry
    return places


def _place(entry: zipfile.ZipInfo) -> PurePosixPath:
    """Return where an entry goes inside the folder; refuses paths that leave it, links, and what is no part of a run."""
    path = PurePosixPath(entry.filename)
    if path.is_absolute() or ".." in path.parts or "\\" in entry.filename or ":" in entry.filename.partition("/")[0]:
        raise ImportRefused(f"The archive holds “{_shown(entry)}”, a path that leads out of it.")
    if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG):
        raise ImportRefused(f"The archive holds “{_shown(entry)}”, which is a link or a device, not a file.")
    if not _is_part_of_a_run(path) or any(
        part.startswith(".") or not part.isprintable() or len(part.encode()) > 255 for part in path.parts
    ):
        raise ImportRefused(f"The archive holds “{_shown(entry)}”, which is no part of an exported run.")
    if entry.flag_bits & 1 or entry.compress_type not in METHODS:
        raise ImportRefused(f"The archive holds “{_shown(entry)}” encrypted or packed in an uncommon way; pack it as a plain .zip.")
    return path


def _is_part_of_a_run(path: PurePosixPath) -> bool:
    if len(path.parts) == 2:
        return path.name == UI_STATE or path.name == lora_name(path.parts[0])
    return len(path.parts) == 3 and path.parts[1] == DATASET_FOLDER and (is_image_name(path.name) or path.suffix == CAPTION)


def _write(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path, left: int) -> int:
    """Unpack an entry by pieces; returns its real size. Refuses a bomb as soon as it swells."""
    limit = min(MAX_BYTES if target.name == UI_STATE else MAX_FILE_BYTES, left, max(CHUNK_UNPACK, entry.compress_size * MAX_RATIO))
    size = 0
    with target.open("xb") as file:
        for piece in _pieces(archive, entry):
            size += len(piece)
            if size > limit:
                raise ImportRefused(f"“{_shown(entry)}” in the archive swells beyond {limit >> 20} MB when it is unpacked; it was not.")
            file.write(piece)
    return size


def _pieces(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Iterator[bytes]:
    try:
        with archive.open(entry) as packed:
            while piece := packed.read(CHUNK_UNPACK):
                yield piece
    except DAMAGE as error:
        raise ImportRefused(f"“{_shown(entry)}” in the archive is damaged ({error}); export it again.") from None


def _shown(entry: zipfile.ZipInfo) -> str:
    """Return an entry's name as a terminal may see it."""
    return "".join(char if char.isprintable() else "?" for char in entry.filename[:120])

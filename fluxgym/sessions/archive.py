"""Export archives: zipped while they are sent, and unpacked into an empty folder with hostile content refused."""

import io
import stat
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from fluxgym.contract.caption_files import CAPTION
from fluxgym.contract.dataset_rules import is_image_name, is_portable_name
from fluxgym.contract.files import DATASET_FOLDER, UI_STATE, lora_name
from fluxgym.contract.regular_files import UnsafeFile, open_regular
from fluxgym.errors import ImportRefused
from fluxgym.runs.disk_space import ensure_free_space
from fluxgym.runs.state import MAX_BYTES

PACKED = (".safetensors", ".png", ".jpg", ".jpeg", ".webp", ".avif", ".heic", ".heif", ".jxl")
CHUNK = 1 << 20
CHECK_BYTES = 8 << 20
MAX_ENTRIES = 20_000
MAX_DIRECTORY_BYTES = 8 << 20
MAX_FILE_BYTES = 4 << 30
MAX_TOTAL_BYTES = 16 << 30
MAX_RATIO = 200
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError, ValueError, OverflowError)


class _Sink:
    """A write-only file without seek, whose written bytes are taken out in chunks."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._chunks.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Do nothing: the chunks are taken as they come."""

    def take(self) -> Iterator[bytes]:
        chunks = self._chunks
        self._chunks = []
        yield from chunks


def pack(files: Iterable[tuple[Path, str]]) -> Iterator[bytes]:
    """Yield the bytes of a zip archive of (path, name in the archive) pairs.

    Raises:
        OSError: If a file cannot be read; the bytes so far have been yielded by then.
    """
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", strict_timestamps=False) as archive:  # type: ignore[call-overload]
        for path, name in files:
            try:
                source = open_regular(path)
            except UnsafeFile:
                continue  # a link may point outside the run
            with source:
                entry = zipfile.ZipInfo.from_file(path, name, strict_timestamps=False)
                entry.compress_type = zipfile.ZIP_STORED if path.suffix.lower() in PACKED else zipfile.ZIP_DEFLATED
                with archive.open(entry, "w") as target:
                    while chunk := source.read(CHUNK):
                        target.write(chunk)
                        yield from sink.take()
    yield from sink.take()


class _LimitedReader(io.FileIO):
    """A file that refuses single reads beyond MAX_DIRECTORY_BYTES, whatever size the archive claims for its directory."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > MAX_DIRECTORY_BYTES:
            raise ImportRefused(f"The archive's table of contents is larger than {MAX_DIRECTORY_BYTES >> 20} MB; it holds too many files.")
        return super().read(MAX_DIRECTORY_BYTES if size is None or size < 0 else size) or b""  # "the rest" is an archive's last 64 kB


def unpack(source: Path, staging: Path) -> list[Path]:
    """Unpack an archive of runs into the empty folder `staging` and return the runs' folders.

    Raises:
        ImportRefused: If the archive holds anything that is not part of an export; the message names it.
        StorageError: If it does not fit on the disk beside the disk space that is reserved for live trainings.
    """
    with _opened(source) as archive:
        entries = archive.infolist()
        if len(entries) > MAX_ENTRIES:
            raise ImportRefused(f"{source.name} holds {len(entries)} files; at most {MAX_ENTRIES} are taken.")
        targets = _targets([entry for entry in entries if not entry.filename.endswith("/")])
        ensure_free_space(staging, sum(entry.file_size for entry in targets.values()))
        left = MAX_TOTAL_BYTES
        for path, entry in targets.items():
            target = staging / path
            target.parent.mkdir(parents=True, exist_ok=True)
            left -= _write(archive, entry, target, left)
    if not targets:
        raise ImportRefused(f"{source.name} is empty; export it again.")
    for name in sorted({path.parts[0] for path in targets}):
        if PurePosixPath(name, UI_STATE) not in targets:
            raise ImportRefused(f"The folder {name} in {source.name} has no ui_state.json, so it is not a run.")
    return sorted(staging.iterdir())


@contextmanager
def _opened(source: Path) -> Iterator[zipfile.ZipFile]:
    with _LimitedReader(source) as file:
        try:
            archive = zipfile.ZipFile(file)
        except DAMAGE:
            raise ImportRefused(
                f"{source.name} is not a FluxGym export, or it is damaged: it cannot be opened as a .zip; export it again."
            ) from None
        with archive:
            yield archive


def _targets(entries: list[zipfile.ZipInfo]) -> dict[PurePosixPath, zipfile.ZipInfo]:
    targets: dict[PurePosixPath, zipfile.ZipInfo] = {}
    for entry in entries:
        path = _target(entry)
        if path in targets:
            raise ImportRefused(f"The archive holds “{_shown(entry)}” twice.")
        targets[path] = entry
    return targets


def _target(entry: zipfile.ZipInfo) -> PurePosixPath:
    """Return an entry's relative path; refuse paths that leave the folder, links, and files that are not part of a run."""
    path = PurePosixPath(entry.filename)
    if path.is_absolute() or ".." in path.parts or "\\" in entry.filename or ":" in entry.filename.partition("/")[0]:
        raise ImportRefused(f"The archive holds “{_shown(entry)}”, a path that leads out of it.")
    if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG):
        raise ImportRefused(f"The archive holds “{_shown(entry)}”, which is a link or a device, not a file.")
    if not _is_part_of_a_run(path) or not all(map(is_portable_name, path.parts)):
        raise ImportRefused(f"The archive holds “{_shown(entry)}”, which is not part of an exported run.")
    if entry.flag_bits & 1 or entry.compress_type not in METHODS:
        raise ImportRefused(f"The archive holds “{_shown(entry)}” encrypted or packed in an uncommon way; pack it as a plain .zip.")
    return path


def _is_part_of_a_run(path: PurePosixPath) -> bool:
    if len(path.parts) == 2:
        return path.name == UI_STATE or path.name == lora_name(path.parts[0])
    return len(path.parts) == 3 and path.parts[1] == DATASET_FOLDER and (is_image_name(path.name) or path.suffix == CAPTION)


def _write(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path, left: int) -> int:
    """Unpack an entry in chunks and return its real size in bytes; refuse it as soon as it exceeds its limit (a zip bomb)."""
    limit = min(MAX_BYTES if target.name == UI_STATE else MAX_FILE_BYTES, left, max(CHUNK, entry.compress_size * MAX_RATIO))
    size = 0
    with target.open("xb") as file:
        for chunk in _chunks(archive, entry):
            if size // CHECK_BYTES != (size + len(chunk)) // CHECK_BYTES:
                ensure_free_space(
                    target.parent, len(chunk)
                )  # the archive may contain more than its headers declare, and other processes write meanwhile
            size += len(chunk)
            if size > limit:
                raise ImportRefused(f"“{_shown(entry)}” in the archive is larger than {limit >> 20} MB when unpacked; it was not unpacked.")
            file.write(chunk)
    return size


def _chunks(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Iterator[bytes]:
    try:
        with archive.open(entry) as packed:
            while chunk := packed.read(CHUNK):
                yield chunk
    except DAMAGE:
        raise ImportRefused(f"“{_shown(entry)}” in the archive is damaged; export it again.") from None


def _shown(entry: zipfile.ZipInfo) -> str:
    """Return an entry's name, cut and with control characters replaced."""
    return "".join(char if char.isprintable() else "?" for char in entry.filename[:120])

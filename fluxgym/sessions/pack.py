"""Pack files into a .zip that is sent or written while it is made: nothing of it lies on the disk or in memory as a whole."""

import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

PACKED = (".safetensors", ".png", ".jpg", ".jpeg", ".webp", ".avif")
CHUNK = 1 << 20


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

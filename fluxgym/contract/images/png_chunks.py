"""A view of a PNG file without texts and color profiles: image generators write megabytes of text, which decoders refuse."""

import io
import zlib
from bisect import bisect_right
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from fluxgym.contract.images.formats import UnusableImage

SIGNATURE_BYTES = 8
PIXELS = {b"PLTE", b"tRNS", b"IDAT", b"IEND"}
TEXTS = {b"tEXt", b"zTXt", b"iTXt"}
ORIENTATION_TEXTS = (b"Raw profile type exif\0", b"XML:com.adobe.xmp\0")  # texts that can contain the EXIF orientation
MAX_METADATA_BYTES = 1 << 20
MAX_CHUNKS = 1_000_000


class _Chunk(NamedTuple):
    """A chunk: its name, start offset and total length including header and checksum."""

    name: bytes
    start: int
    length: int


def png_without_texts(file: BinaryIO) -> "PngView":
    """Return a PNG file without its texts and color profiles, and with its orientation before the pixels.

    Raises:
        UnusableImage: If the file has more than MAX_CHUNKS chunks.
    """
    pixels: list[tuple[int, int]] = []
    metadata: list[tuple[int, int]] = []
    header: _Chunk | None = None
    for chunk in _chunks(file):
        if chunk.name == b"IHDR" and header is None:
            header = chunk
        elif chunk.name in PIXELS:
            _append(pixels, chunk)
        elif _is_orientation(file, chunk):
            _append(metadata, chunk)
    first = [(0, SIGNATURE_BYTES), *([(header.start, header.length)] if header else [])]
    return PngView(file, [*first, *metadata, *pixels])


def _chunks(file: BinaryIO) -> Iterator[_Chunk]:
    """Yield the chunks of a file; one that is cut off is the last."""
    start = SIGNATURE_BYTES
    for _ in range(MAX_CHUNKS):
        file.seek(start)
        head = file.read(8)
        if len(head) < 8:
            return
        chunk = _Chunk(head[4:], start, int.from_bytes(head[:4], "big") + 12)
        yield chunk
        if chunk.name == b"IEND":
            return
        start += chunk.length
    raise UnusableImage(f"has more than {MAX_CHUNKS} chunks; save it again.")


def _append(segments: list[tuple[int, int]], chunk: _Chunk) -> None:
    """Add a chunk, joined to the segment that ends where it begins."""
    if segments and sum(segments[-1]) == chunk.start:
        start, length = segments.pop()
        segments.append((start, length + chunk.length))
    else:
        segments.append((chunk.start, chunk.length))


def _is_orientation(file: BinaryIO, chunk: _Chunk) -> bool:
    """Return True if a chunk can contain the EXIF orientation and is small, also after decompression."""
    if chunk.length > MAX_METADATA_BYTES or chunk.name not in TEXTS | {b"eXIf"}:
        return False
    file.seek(chunk.start + 8)
    data = file.read(chunk.length - 12)
    if chunk.name == b"eXIf":
        return True
    keyword = next((text for text in ORIENTATION_TEXTS if data.startswith(text)), None)
    if keyword is None:
        return False
    packed = _packed_part(chunk.name, data[len(keyword) :])
    return packed is None or _unpacks_small(packed)


def _packed_part(name: bytes, data: bytes) -> bytes | None:
    """Return the compressed part of a text after its keyword, None if it is not compressed."""
    if name == b"zTXt":
        return data[1:]
    if name == b"iTXt" and data[:1] == b"\1":
        return data[2:].partition(b"\0")[2].partition(b"\0")[2]  # after the language and the translated keyword
    return None


def _unpacks_small(packed: bytes) -> bool:
    unpacker = zlib.decompressobj()
    try:
        unpacker.decompress(packed, MAX_METADATA_BYTES)
    except zlib.error:
        return False
    return not unpacker.unconsumed_tail


class PngView:
    """Parts of a file, one after another, as one file with the methods that Pillow calls. The file is not closed with it."""

    def __init__(self, file: BinaryIO, segments: list[tuple[int, int]]) -> None:
        self._file, self._segments, self._position = file, segments, 0
        self._offsets = [0]  # where each segment begins in the view, and where the last one ends
        for _, length in segments:
            self._offsets.append(self._offsets[-1] + length)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to an offset, as other files do."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._offsets[-1]}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes, all that are left for a negative size; fewer at the end, and where the file is cut off."""
        end = self._offsets[-1] if size < 0 else min(self._position + size, self._offsets[-1])
        parts = []
        while self._position < end and (part := self._read_within_segment(end)):
            parts.append(part)
        return b"".join(parts)

    def _read_within_segment(self, end: int) -> bytes:
        index = bisect_right(self._offsets, self._position) - 1
        start, length = self._segments[index]
        within = self._position - self._offsets[index]
        self._file.seek(start + within)
        data = self._file.read(min(end - self._position, length - within))
        self._position += len(data)
        return data

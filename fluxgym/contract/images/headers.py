"""Sizes in the headers of the formats whose decoders take memory for all pixels when they open a file: WebP and JPEG XL."""

from typing import BinaryIO

from fluxgym.contract.images.formats import JXL, JXL_CONTAINER, WEBP, ImageFormat, UnusableImage

MAX_BOXES = 1000
CODESTREAM_BYTES = 16  # enough for JPEG XL's size
_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))  # JPEG XL's width to height
Size = tuple[int, int]
DAMAGED = "has a damaged header; save it again."


def header_size(file: BinaryIO, image_format: ImageFormat) -> Size | None:
    """Return (width, height) from the header of a WebP or JPEG XL file, None for another format.

    Raises:
        UnusableImage: If it is damaged.
    """
    file.seek(0)
    if image_format is WEBP:
        return _webp_size(file.read(30))
    if image_format is JXL:
        return _jxl_size(_codestream(file))
    return None


def _webp_size(head: bytes) -> Size:
    chunk_type, data = head[12:16], head[20:30]
    if len(data) == 10 and chunk_type == b"VP8X":
        return int.from_bytes(data[4:7], "little") + 1, int.from_bytes(data[7:10], "little") + 1
    if len(data) == 10 and chunk_type == b"VP8L":
        bits = int.from_bytes(data[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if len(data) == 10 and chunk_type == b"VP8 ":
        return int.from_bytes(data[6:8], "little") & 0x3FFF, int.from_bytes(data[8:10], "little") & 0x3FFF
    raise UnusableImage(DAMAGED)


def _codestream(file: BinaryIO) -> bytes:
    """Return the start of a JPEG XL codestream: the file itself, or the first codestream box of a container."""
    head = file.read(CODESTREAM_BYTES)
    if not head.startswith(JXL_CONTAINER):
        return head
    position = 0
    for _ in range(MAX_BOXES):
        file.seek(position)
        header = file.read(16)
        length, box_type, start = int.from_bytes(header[:4], "big"), header[4:8], 8
        if length == 1:
            length, start = int.from_bytes(header[8:16], "big"), 16
        if box_type in (b"jxlc", b"jxlp"):
            file.seek(position + start + (4 if box_type == b"jxlp" else 0))
            return file.read(CODESTREAM_BYTES)
        if len(header) < 8 or length < start:
            break
        position += length
    raise UnusableImage(DAMAGED)


class _Bits:
    """Reads numbers from bytes, the lowest bit first."""

    def __init__(self, data: bytes) -> None:
        self._bits = int.from_bytes(data, "little")

    def take(self, count: int) -> int:
        """Return the next bits as a number."""
        value = self._bits & (1 << count) - 1
        self._bits >>= count
        return value

    def side(self) -> int:
        """Return a side of an image, whose first two bits encode the number of bits that follow."""
        return self.take((9, 13, 18, 30)[self.take(2)]) + 1


def _jxl_size(codestream: bytes) -> Size:
    """Return the size in a codestream (ISO 18181-1, SizeHeader)."""
    if len(codestream) < CODESTREAM_BYTES or codestream[:2] != b"\xff\x0a":
        raise UnusableImage(DAMAGED)
    bits = _Bits(codestream[2:])
    is_small = bits.take(1)
    height = (bits.take(5) + 1) * 8 if is_small else bits.side()
    ratio = bits.take(3)
    if ratio:
        numerator, denominator = _RATIOS[ratio - 1]
        return height * numerator // denominator, height
    return (bits.take(5) + 1) * 8 if is_small else bits.side(), height

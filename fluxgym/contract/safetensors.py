"""Header of a .safetensors file: tensor names, dtypes, shapes, byte ranges, metadata. No tensor is loaded.

File format (https://github.com/huggingface/safetensors): 8 bytes with the length of the header (unsigned, little-endian), the header as JSON, then
the data of all tensors. `data_offsets` count from the start of that data.
"""

import json
import struct
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from fluxgym.contract.regular_files import open_regular

MAX_HEADER_BYTES = 100_000_000  # limit of the safetensors library
LENGTH_BYTES = 8


class HeaderProblem(StrEnum):
    """What is wrong with a file, as the predicate of a message about it."""

    MISSING_BYTES = "it is cut short"
    TOO_LONG = "it is longer than its header says"
    NOT_SAFETENSORS = "it is not a .safetensors file"
    DAMAGED = "its header is damaged"


class HeaderError(ValueError):
    """A file that is not a complete .safetensors file; `kind` is the reason."""

    def __init__(self, kind: HeaderProblem) -> None:
        super().__init__(kind.value)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """One tensor of a header; `begin` and `end` are byte offsets from the start of the data."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True)
class Header:
    """A parsed header: tensors by name in file order, metadata, and the offset in the file where the data starts."""

    tensors: dict[str, TensorEntry]
    metadata: dict[str, str]
    data_start: int

    @property
    def file_bytes(self) -> int:
        """Size in bytes that the whole file must have."""
        return self.data_start + max((entry.end for entry in self.tensors.values()), default=0)

    def check_size(self, size: int) -> None:
        """Raise HeaderError (MISSING_BYTES, TOO_LONG) if a file of `size` bytes does not end where its last tensor does."""
        if size != self.file_bytes:
            raise HeaderError(HeaderProblem.MISSING_BYTES if size < self.file_bytes else HeaderProblem.TOO_LONG)


def read_header(path: Path, *, follow_links: bool = True) -> Header:
    """Read the header of a regular file. The data behind it is not checked; see `Header.check_size`.

    Raises:
        HeaderError: If the file is not a .safetensors file, or its header is truncated or damaged.
        OSError: If the file cannot be read.
    """
    with open_regular(path, follow_links=follow_links) as file:
        start = file.read(LENGTH_BYTES)
        if len(start) < LENGTH_BYTES:
            raise HeaderError(HeaderProblem.MISSING_BYTES)
        (length,) = struct.unpack("<Q", start)
        if length > MAX_HEADER_BYTES:
            raise HeaderError(HeaderProblem.NOT_SAFETENSORS)
        text = file.read(length)
    if len(text) < length:
        raise HeaderError(HeaderProblem.MISSING_BYTES)
    return parse_header(text)


def parse_header(text: bytes) -> Header:
    """Parse the JSON of a header.

    Raises:
        HeaderError: (DAMAGED) If it is not a valid header.
    """
    try:
        table = json.loads(text)
        metadata = table.pop("__metadata__", {})
        if not isinstance(metadata, dict):
            raise TypeError
        tensors = {name: _entry(value) for name, value in table.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise HeaderError(HeaderProblem.DAMAGED) from None
    return Header(tensors, metadata, LENGTH_BYTES + len(text))


def _entry(value: Any) -> TensorEntry:
    """Return one tensor's entry.

    Raises:
        ValueError, KeyError, TypeError: For a malformed one.
    """
    dtype, shape, (begin, end) = value["dtype"], value["shape"], value["data_offsets"]
    numbers = [*shape, begin, end]
    if not isinstance(dtype, str) or not isinstance(shape, list) or not all(type(number) is int and number >= 0 for number in numbers):
        raise TypeError
    if begin > end:
        raise ValueError
    return TensorEntry(dtype, tuple(shape), begin, end)


def is_whole(path: Path) -> bool:
    """Return True if a file can be read, has tensors, and has exactly the size that its header declares."""
    try:
        header = read_header(path)
        header.check_size(path.stat().st_size)
        return bool(header.tensors)
    except (OSError, ValueError):
        return False

"""The header of a .safetensors file, and whether the file holds all that it promises. Standard library only: it loads no tensor.

The format: 8 bytes with the header's length (little-endian), the header as JSON, and behind it the tensors' bytes, at the places it names.
"""

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MAX_HEADER_BYTES = 100_000_000  # as the safetensors library itself has it
LENGTH_BYTES = 8


@dataclass(frozen=True)
class Header:
    """What a file's header tells: its tensors by name (dtype, shape, data_offsets) and its metadata; `begin` is where their bytes begin."""

    tensors: dict[str, dict[str, Any]]
    metadata: dict[str, str]
    begin: int

    @property
    def file_bytes(self) -> int:
        """How large the whole file has to be."""
        return self.begin + max((entry["data_offsets"][1] for entry in self.tensors.values()), default=0)


def read_header(path: Path) -> Header:
    """Read a file's header; raises ValueError saying what is wrong with it, OSError when the file cannot be read."""
    with path.open("rb") as file:
        start = file.read(LENGTH_BYTES)
        if len(start) < LENGTH_BYTES:
            raise ValueError("it is cut short")
        (length,) = struct.unpack("<Q", start)
        if length > MAX_HEADER_BYTES:
            raise ValueError("it is no .safetensors file")
        text = file.read(length)
    if len(text) < length:
        raise ValueError("it is cut short")
    return _parsed(text)


def _parsed(text: bytes) -> Header:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    metadata = value.pop("__metadata__", {}) if isinstance(value, dict) else None
    if value is None or not isinstance(metadata, dict) or not all(_is_entry(entry) for entry in value.values()):
        raise ValueError("its header is damaged")
    return Header(value, metadata, LENGTH_BYTES + len(text))


def _is_entry(entry: Any) -> bool:
    """Return True if an entry of the header names a dtype, and a place whose end is not before its beginning."""
    if not isinstance(entry, dict) or not isinstance(entry.get("dtype"), str):
        return False
    place = entry.get("data_offsets")
    return isinstance(place, list) and len(place) == 2 and all(type(end) is int for end in place) and 0 <= place[0] <= place[1]


def is_whole(path: Path) -> bool:
    """Return True if a file can be read, holds tensors, and is just as long as its header says."""
    try:
        header = read_header(path)
        return bool(header.tensors) and path.stat().st_size == header.file_bytes
    except (OSError, ValueError):
        return False

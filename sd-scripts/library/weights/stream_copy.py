"""Copying a .safetensors file of any size with some of its tensors changed, holding one tensor in memory at a time.

What is not changed is copied byte for byte, whatever its kind. The result is whole or absent. Small files are files.save_tensors'.
"""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from library.files import PARTIAL, disk_errors, sync

NAMES = {
    torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.float8_e4m3fn: "F8_E4M3", torch.float8_e5m2: "F8_E5M2",
}  # fmt: skip
KINDS = {name: dtype for dtype, name in NAMES.items()}
CHUNK_BYTES = 16 << 20


@dataclass(frozen=True)
class Change:
    """A floating tensor that is not copied: what is made of it when its turn comes, and the precision it is stored in (None: its own)."""

    make: Callable[[Tensor], Tensor]
    dtype: torch.dtype | None = None


def copy_with_changes(source: Path, target: Path, changes: Mapping[str, Change], metadata: Mapping[str, str]) -> None:
    """Write `source` again as `target` with some tensors changed, of the same shapes, and with other notes.

    Raises TrainerError when the disk is full. The source has been checked to be whole (WeightFile does).
    """
    header, start = _header(source)
    plan, names = _plan(header, changes), sorted(header, key=lambda name: header[name]["data_offsets"])
    text = json.dumps({"__metadata__": dict(metadata)} | plan).encode()
    text += b" " * (-len(text) % 8)
    tmp_path = target.with_name(f"{target.name}.{os.getpid()}{PARTIAL}")
    with disk_errors(target):
        try:
            with source.open("rb") as old, tmp_path.open("wb") as new:
                new.write(len(text).to_bytes(8, "little") + text)
                for name in names:
                    if name in changes:
                        changed = changes[name].make(_read(old, start, header[name]))
                        new.write(_bytes_of(changed.to(KINDS[plan[name]["dtype"]])))
                    else:
                        _copy(old, new, start, header[name]["data_offsets"])
            sync(tmp_path)
            tmp_path.rename(target)
            sync(target.parent)
        finally:
            tmp_path.unlink(missing_ok=True)


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """Return a file's tensors (dtype, shape, data_offsets by name) and where its data begins."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    return header, 8 + length


def _plan(header: Mapping[str, Any], changes: Mapping[str, Change]) -> dict[str, Any]:
    """Return the new header: the same tensors in the same order, one behind the other."""
    plan, place = {}, 0
    for name in sorted(header, key=lambda name: header[name]["data_offsets"]):
        old, change = header[name], changes.get(name)
        begin, end = old["data_offsets"]
        size = end - begin
        kind = old["dtype"]
        if change is not None and change.dtype is not None:
            kind, size = NAMES[change.dtype], torch.Size(old["shape"]).numel() * change.dtype.itemsize
        plan[name] = old | {"dtype": kind, "data_offsets": [place, place + size]}
        place += size
    return plan


def floating(path: Path) -> set[str]:
    """Return the names of a file's tensors that can be changed: those of floating kinds."""
    return {name for name, entry in _header(path)[0].items() if entry["dtype"] in KINDS}


def _read(file: BinaryIO, start: int, entry: Mapping[str, Any]) -> Tensor:
    """Read one tensor, without mapping the file into memory, whose pages would count as the process's own."""
    begin, end = entry["data_offsets"]
    file.seek(start + begin)
    data = torch.frombuffer(bytearray(file.read(end - begin)), dtype=torch.uint8) if end > begin else torch.empty(0, dtype=torch.uint8)
    return data.view(KINDS[entry["dtype"]]).reshape(entry["shape"])


def _bytes_of(tensor: Tensor) -> memoryview:
    return memoryview(tensor.contiguous().cpu().reshape(-1).view(torch.uint8).numpy())


def _copy(old: BinaryIO, new: BinaryIO, start: int, offsets: tuple[int, int]) -> None:
    old.seek(start + offsets[0])
    left = offsets[1] - offsets[0]
    while left:
        piece = old.read(min(left, CHUNK_BYTES))
        new.write(piece)
        left -= len(piece)

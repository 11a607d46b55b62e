"""Copies a .safetensors file of any size with some tensors changed, with one tensor in memory at a time.

Unchanged tensors are copied byte for byte, also those of unknown dtypes. The write is atomic. For small files see safetensors_file.save_tensors.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from fluxgym.contract.regular_files import open_regular
from fluxgym.contract.safetensors import TensorEntry, read_header
from library.files import disk_errors, sync, tmp_path_of

DTYPE_NAMES = {
    torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.float8_e4m3fn: "F8_E4M3", torch.float8_e5m2: "F8_E5M2",
}  # fmt: skip
TORCH_DTYPES = {name: dtype for dtype, name in DTYPE_NAMES.items()}
CHUNK_BYTES = 16 << 20


@dataclass(frozen=True)
class Change:
    """A change of a floating-point tensor: `make` returns the new tensor, `dtype` is its stored dtype (None keeps the old one)."""

    make: Callable[[Tensor], Tensor]
    dtype: torch.dtype | None = None


def copy_with_changes(source: Path, target: Path, changes: Mapping[str, Change], metadata: Mapping[str, str]) -> None:
    """Copy `source` to `target` with some tensors changed (of the same shapes) and with `metadata` instead of the source's.

    The caller has checked that the source is complete, as WeightFile does.

    Raises:
        TrainerError: If the disk is full.
    """
    header = read_header(source)
    tensors, start = header.tensors, header.data_start
    plan = _plan(tensors, changes)
    text = json.dumps({"__metadata__": dict(metadata)} | plan).encode()
    text += b" " * (-len(text) % 8)
    tmp_path = tmp_path_of(target)
    with disk_errors(target):
        try:
            with open_regular(source, follow_links=True) as old, tmp_path.open("wb") as new:
                new.write(len(text).to_bytes(8, "little") + text)
                for name in plan:
                    if name in changes:
                        changed = changes[name].make(_read(old, start, tensors[name]))
                        new.write(_bytes_of(changed.to(TORCH_DTYPES[plan[name]["dtype"]])))
                    else:
                        _copy(old, new, start, tensors[name])
            sync(tmp_path)
            tmp_path.rename(target)
            sync(target.parent)
        finally:
            tmp_path.unlink(missing_ok=True)


def _plan(tensors: Mapping[str, TensorEntry], changes: Mapping[str, Change]) -> dict[str, dict[str, Any]]:
    """Return the new header: the same tensors in file order, without gaps between their data."""
    plan: dict[str, dict[str, Any]] = {}
    offset = 0
    for name, entry in sorted(tensors.items(), key=lambda item: (item[1].begin, item[1].end)):
        change, dtype, size = changes.get(name), entry.dtype, entry.end - entry.begin
        if change is not None and change.dtype is not None:
            dtype, size = DTYPE_NAMES[change.dtype], torch.Size(entry.shape).numel() * change.dtype.itemsize
        plan[name] = {"dtype": dtype, "shape": list(entry.shape), "data_offsets": [offset, offset + size]}
        offset += size
    return plan


def floating(path: Path) -> set[str]:
    """Return the names of a file's floating-point tensors, which Change supports."""
    return {name for name, entry in read_header(path).tensors.items() if entry.dtype in TORCH_DTYPES}


def _read(file: BinaryIO, start: int, entry: TensorEntry) -> Tensor:
    """Read one tensor without memory mapping, because mapped pages count as the process's memory."""
    size = entry.end - entry.begin
    file.seek(start + entry.begin)
    data = torch.frombuffer(bytearray(file.read(size)), dtype=torch.uint8) if size else torch.empty(0, dtype=torch.uint8)
    return data.view(TORCH_DTYPES[entry.dtype]).reshape(entry.shape)


def _bytes_of(tensor: Tensor) -> memoryview:
    return tensor.contiguous().cpu().reshape(-1).view(torch.uint8).numpy().data


def _copy(old: BinaryIO, new: BinaryIO, start: int, entry: TensorEntry) -> None:
    old.seek(start + entry.begin)
    remaining = entry.end - entry.begin
    while remaining:
        chunk = old.read(min(remaining, CHUNK_BYTES))
        new.write(chunk)
        remaining -= len(chunk)

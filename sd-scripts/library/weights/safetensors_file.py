"""One .safetensors file: its header, its tensors by name, its fingerprint, and an atomic write.

Damaged files raise a TrainerError that names the problem; tensors are memory-mapped, not copied. See model_files.py for models of several files.
"""

import hashlib
import math
import mmap
import os
from collections.abc import Iterator, KeysView, Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from fluxgym.contract.codes import ReasonCode
from fluxgym.contract.regular_files import open_regular
from fluxgym.contract.safetensors import TensorEntry
from fluxgym.contract.volumes import try_chmod
from library.errors import TrainerError, warn
from library.files import disk_errors, sync, tmp_path_of
from library.weights.header import damaged, read_weight_header

DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2, "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8,
    "BOOL": torch.bool,
}  # fmt: skip


class WeightFile:
    """The tensors of one .safetensors file by name.

    If `mapped`, a tensor is a view of the memory-mapped file: it is read at first use and not copied. Otherwise it is read into memory (kohya's
    --disable_mmap_load_safetensors), which is faster on some network drives.
    """

    def __init__(self, path: str | Path, what: str, *, mapped: bool = True) -> None:
        """Read the header of the file at `path`; error messages call it `what`.

        Raises:
            TrainerError (bad_model): If the file is missing, empty, truncated, or not a .safetensors file.
        """
        self.path, self.what, self.mapped = Path(path), what, mapped
        self._header = read_weight_header(self.path, what)
        self.metadata, self._entries = self._header.metadata, self._header.tensors
        self._pages: mmap.mmap | None = None

    @property
    def names(self) -> KeysView[str]:
        """The names of the tensors, in the header's order."""
        return self._entries.keys()

    def damaged(self, why: str) -> TrainerError:
        """Return the error for a file that cannot be read."""
        return damaged(self.path, self.what, why)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return a tensor's shape without reading the tensor."""
        return self._entries[name].shape

    def dtype(self, name: str) -> torch.dtype:
        """Return a tensor's dtype without reading the tensor.

        Raises:
            TrainerError: For a dtype that PyTorch does not have.
        """
        stored = self._entries[name].dtype
        if stored not in DTYPES:
            raise TrainerError(
                f"{self.what} {self.path}: the tensor {name} has the type {stored}, which is not supported.",
                reason_code=ReasonCode.BAD_MODEL,
            )
        return DTYPES[stored]

    def tensor(self, name: str) -> Tensor:
        """Return a tensor, a view of the mapped file or a copy in memory.

        Raises:
            TrainerError: If its size does not fit its shape.
        """
        entry, dtype = self._entries[name], self.dtype(name)
        count = math.prod(entry.shape)
        if count * dtype.itemsize != entry.end - entry.begin:
            raise self.damaged(f"the tensor {name} has another size than its shape")
        if count == 0:
            return torch.empty(entry.shape, dtype=dtype)
        if self.mapped and (pages := self._map()) is not None:
            return torch.frombuffer(pages, dtype=dtype, count=count, offset=self._offset(entry)).view(entry.shape)
        return self._read(entry).view(dtype).view(entry.shape)

    def _map(self) -> mmap.mmap | None:
        """Return the mapped file, None if its volume cannot map files: then the tensors are read."""
        if self._pages is None:
            with open_regular(self.path, follow_links=True) as file:
                try:
                    self._pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
                except OSError as error:
                    warn(f"{self.path} is read into memory, because its volume cannot map files ({error.strerror})")
                    self.mapped = False
        return self._pages

    def _offset(self, entry: TensorEntry) -> int:
        return self._header.data_start + entry.begin

    def _read(self, entry: TensorEntry) -> Tensor:
        memory = torch.empty(entry.end - entry.begin, dtype=torch.uint8)
        with open_regular(self.path, follow_links=True) as file:
            file.raw.seek(self._offset(entry), os.SEEK_SET)
            view, done = memory.numpy().data, 0
            while done < len(view):
                if not (got := file.raw.readinto(view[done:])):
                    raise self.damaged("it was cut short while it was read")
                done += got
        return memory

    def release(self, name: str) -> None:
        """Release the mapped pages of a tensor; a later access reads them from the disk again."""
        if self._pages is not None:
            entry = self._entries[name]
            offset = self._offset(entry)
            begin = offset // mmap.PAGESIZE * mmap.PAGESIZE
            self._pages.madvise(mmap.MADV_DONTNEED, begin, offset + entry.end - entry.begin - begin)


def open_weights(path: str | Path, what: str) -> dict[str, Tensor]:
    """Read all tensors of a small .safetensors file into memory.

    Raises:
        TrainerError (bad_model): As WeightFile does.
    """
    file = WeightFile(path, what, mapped=False)
    return {name: file.tensor(name) for name in file.names}


def save_tensors(tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write a .safetensors file atomically; several processes may write the same path.

    Raises:
        TrainerError: If the disk is full or the path cannot be written.
    """
    tmp_path = tmp_path_of(path)
    with disk_errors(path):
        try:
            save_file(dict(tensors), str(tmp_path), metadata=dict(metadata or {}))
            try_chmod(tmp_path, 0o666 & ~_umask())  # safetensors creates files with mode 0600
            sync(tmp_path)
            tmp_path.rename(path)
            sync(path.parent)
        finally:
            tmp_path.unlink(missing_ok=True)


def _umask() -> int:
    """Return the process's umask, which can be read only by setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def fingerprint_of_file(path: Path) -> str:
    """Return a content id of a model file: SHA-256 of its size, its first MiB and 64 evenly spaced pages.

    Hashing all of a 24 GB file at each start would be too slow; two different models differ in nearly every page.
    """
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with open_regular(path, follow_links=True) as file:
        digest.update(file.read(min(size, 1 << 20)))
        for page in range(64):
            file.seek(size * page // 64)
            digest.update(file.read(4096))
    return digest.hexdigest()


def persistent_tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield the parameters and persistent buffers of a module by name."""
    yield from module.state_dict(keep_vars=True).items()


def assign(module: nn.Module, name: str, value: Tensor) -> None:
    """Replace a parameter or buffer, which may be on the meta device, by `value` without a copy."""
    owner_name, _, leaf = name.rpartition(".")
    owner = module.get_submodule(owner_name)
    if leaf in owner._parameters:
        owner._parameters[leaf] = nn.Parameter(value, requires_grad=False)
    else:
        owner._buffers[leaf] = value

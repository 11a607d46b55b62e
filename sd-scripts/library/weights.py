"""Reading .safetensors files safely and sparingly: what is wrong with one is said in a sentence, and one tensor is held at a time.

Owns opening, checking and fingerprinting. Does not know what a file's tensors mean.
"""

import hashlib
import struct
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from library.errors import TrainerError


class WeightFile:
    """One .safetensors file, its tensors by name with a known prefix taken off."""

    def __init__(self, path: str | Path, what: str, *, prefixes: Sequence[str] = (), rename: Callable[[str], str] = str) -> None:
        """Check the file at `path`, called `what` in messages; `rename` maps a tensor's name in the file to the module's.

        Raises TrainerError (bad_model) when it is missing, empty, truncated, or no .safetensors file.
        """
        self.path, self.what = Path(path), what
        self._check()
        try:
            self._handle = safe_open(str(self.path), framework="pt", device="cpu")
            stored = list(self._handle.keys())
        except (SafetensorError, OSError) as error:
            raise self.damaged(str(error)) from None
        prefix = next((p for p in prefixes if any(key.startswith(p) for key in stored)), "")
        self.names = {rename(key.removeprefix(prefix)): key for key in stored}

    def _check(self) -> None:
        if not self.path.is_file():
            raise TrainerError(f"{self.what} {self.path} is missing; check the path or download it.", reason_code="bad_model")
        size = self.path.stat().st_size
        with self.path.open("rb") as file:
            head = file.read(8)
        if len(head) < 8 or struct.unpack("<Q", head)[0] > size:
            raise self.damaged("it is cut short, or no .safetensors file")

    def damaged(self, why: str) -> TrainerError:
        """Return the error that says this file cannot be read."""
        return TrainerError(f"{self.what} {self.path} is damaged: {why}. Download it again.", reason_code="bad_model")

    def shape(self, name: str) -> tuple[int, ...]:
        """Return a tensor's shape without reading the tensor."""
        return tuple(self._handle.get_slice(self.names[name]).get_shape())

    def tensor(self, name: str) -> Tensor:
        """Read one tensor."""
        return self._handle.get_tensor(self.names[name])

    @cached_property
    def metadata(self) -> dict[str, str]:
        """The file's own notes."""
        return self._handle.metadata() or {}

    def load_into(self, module: nn.Module, *, dtype: torch.dtype | None, device: torch.device | str, ignore: Sequence[str] = ()) -> None:
        """Fill every parameter and buffer of `module` (on the meta device or not) from the file, one tensor at a time.

        Floating tensors become `dtype` (None keeps the file's). `ignore` lists names that the file need not hold.

        Raises TrainerError (bad_model) naming the first tensor that is missing or has another shape.
        """
        for name, old in _persistent_tensors(module):
            if name in ignore:
                continue
            if name not in self.names:
                raise self.damaged(f"the tensor {name} is missing from it")
            if self.shape(name) != tuple(old.shape):
                raise self.damaged(f"the tensor {name} is {list(self.shape(name))}, not {list(old.shape)}")
            new = self.tensor(name).to(device=device)
            _assign(module, name, new.to(dtype) if dtype is not None and new.is_floating_point() else new)


def read_shapes(file: WeightFile) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor of a file."""
    return {name: file.shape(name) for name in file.names}


def open_weights(path: str | Path, what: str) -> dict[str, Tensor]:
    """Read a small .safetensors file whole; raises TrainerError (bad_model) like WeightFile."""
    file = WeightFile(path, what)
    return {name: file.tensor(name) for name in file.names}


def fingerprint(path: str | Path) -> str:
    """Return a cheap content id of a model file: SHA-256 over its size, its header and 64 evenly spaced pages of its data.

    Reading a 24 GB file whole at every start would take longer than many trainings; two models differ in nearly every page.
    """
    path = Path(path)
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        digest.update(file.read(min(size, 1 << 20)))
        for page in range(64):
            file.seek(size * page // 64)
            digest.update(file.read(4096))
    return digest.hexdigest()


def _persistent_tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.state_dict(keep_vars=True).items()


def _assign(module: nn.Module, name: str, value: Tensor) -> None:
    owner_name, _, leaf = name.rpartition(".")
    owner = module.get_submodule(owner_name)
    if leaf in owner._parameters:
        owner._parameters[leaf] = nn.Parameter(value, requires_grad=False)
    else:
        owner._buffers[leaf] = value

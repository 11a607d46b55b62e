"""What encoders made of pictures and captions, kept under a name that says what it was made from.

The name is a hash of the content and of everything that shaped the result, so a changed picture, caption, model or size is made anew and
the rest is found again, by other runs too. Files are whole or absent; a damaged one is made anew. kohya's .npz files are left alone.
"""

import hashlib
from collections import OrderedDict
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from library.errors import TrainerError
from library.files import save_tensors

FOLDER = ".fluxgym-cache"
VERSION = 1  # counts changes of what is encoded and how
MEMORY_BYTES = 2 << 30

Tensors = dict[str, Tensor]


def key_of(*parts: object) -> str:
    """Hash what a result is made from; bytes and texts of any length."""
    digest = hashlib.sha256(str(VERSION).encode())
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode()
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()


class Cache:
    """Results by key: on the disk beside the pictures, and in memory up to MEMORY_BYTES; without a disk all in memory."""

    def __init__(self, *, to_disk: bool) -> None:
        self.to_disk = to_disk
        self._places: dict[str, Path] = {}
        self._memory: OrderedDict[str, Tensors] = OrderedDict()
        self._bytes = 0

    def find(self, key: str, folder: Path) -> bool:
        """Say whether a result is there, whole, in memory or in a folder of pictures."""
        if key in self._memory or key in self._places:
            return True
        path = folder / FOLDER / f"{key}.safetensors"
        if not (self.to_disk and path.is_file()):
            return False
        try:
            tensors = load_file(path)
        except (SafetensorError, OSError):
            return False  # damaged: made anew
        self._places[key] = path
        self._remember(key, tensors)
        return True

    def put(self, key: str, folder: Path, tensors: Tensors) -> None:
        """Keep a result; a folder that cannot be written is made up for in memory, a full disk is a TrainerError."""
        tensors = {name: tensor.detach().to("cpu").contiguous() for name, tensor in tensors.items()}
        if self.to_disk and self._write(key, folder, tensors):
            self._places[key] = folder / FOLDER / f"{key}.safetensors"
        self._remember(key, tensors)

    def get(self, key: str) -> Tensors:
        """Return a result that was found or put; raises TrainerError when its file was damaged meanwhile."""
        if key in self._memory:
            self._memory.move_to_end(key)
            return self._memory[key]
        try:
            tensors = load_file(self._places[key])
        except (SafetensorError, OSError) as error:
            raise TrainerError(f"the cache file {self._places[key]} was damaged while training ({error}); start again.") from None
        self._remember(key, tensors)
        return tensors

    def _write(self, key: str, folder: Path, tensors: Tensors) -> bool:
        try:
            (folder / FOLDER).mkdir(exist_ok=True)
            if not (folder / FOLDER / ".gitignore").exists():
                (folder / FOLDER / ".gitignore").write_text("*\n")
        except PermissionError:
            return False
        except OSError as error:
            if error.errno == 30:  # a read-only file system
                return False
            raise
        save_tensors(tensors, folder / FOLDER / f"{key}.safetensors")
        return True

    def _remember(self, key: str, tensors: Tensors) -> None:
        self._memory[key] = tensors
        self._bytes += _size(tensors)
        while self._bytes > MEMORY_BYTES:
            oldest = next((name for name in self._memory if name in self._places and name != key), None)
            if oldest is None:
                return  # what is nowhere else stays
            self._bytes -= _size(self._memory.pop(oldest))


def _size(tensors: Tensors) -> int:
    return sum(tensor.nbytes for tensor in tensors.values())

"""What encoders made of pictures and captions, kept under a name that says what it was made from.

The name is a hash of the content and of everything that shaped the result, so a changed picture, caption, model or size is made anew and
the rest is found again, by other runs too, also by some at the same time. Files are whole or absent; a damaged one is noticed by its
checksum and made anew; what no run has wanted for KEPT_S is removed. kohya's .npz files are left alone.
"""

import errno
import hashlib
import os
import time
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from threading import Lock

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from library.errors import TrainerError
from library.files import PARTIAL, save_tensors

FOLDER = ".fluxgym-cache"
VERSION = 2  # counts changes of what is encoded and how
MEMORY_BYTES = 2 << 30
LEFT_BEHIND_S = 3600  # a file that a killed run did not finish
TOUCHED_S, KEPT_S = 24 * 3600, 30 * 24 * 3600  # a file's time says, to a day, when a run last wanted it
UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST, errno.ENOTDIR)

Tensors = dict[str, Tensor]


def key_of(*parts: object) -> str:
    """Hash what a result is made from; bytes and texts of any length."""
    digest = hashlib.sha256(str(VERSION).encode())
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode()
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()


class Cache:
    """Results by key: on the disk beside the pictures, and in memory up to MEMORY_BYTES; without a disk all in memory.

    Several threads may get at once.
    """

    def __init__(self, *, to_disk: bool) -> None:
        self.to_disk = to_disk
        self._places: dict[str, Path] = {}
        self._memory: OrderedDict[str, Tensors] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()
        self._is_writable: dict[Path, bool] = {}
        self._folders: set[Path] = set()

    def find(self, key: str, folder: Path) -> bool:
        """Say whether a result is there, whole, in memory or in a folder of pictures."""
        if key in self._memory or key in self._places:
            return True
        self._folders.add(folder / FOLDER)
        path = folder / FOLDER / f"{key}.safetensors"
        if not (self.to_disk and path.is_file()):
            return False
        try:
            tensors = _load(path)
        except (SafetensorError, OSError):
            return False  # damaged: made anew
        self._places[key] = path
        self._remember(key, tensors)
        _touch(path)
        return True

    def put(self, key: str, folder: Path, tensors: Tensors) -> None:
        """Keep a result; a folder that cannot be written is made up for in memory, a full disk is a TrainerError."""
        tensors = {name: tensor.detach().to("cpu").contiguous() for name, tensor in tensors.items()}
        place = folder / FOLDER
        if self.to_disk and self._can_write(place):
            save_tensors(tensors, place / f"{key}.safetensors", {"sha256": _checksum(tensors)})
            self._places[key] = place / f"{key}.safetensors"
        self._remember(key, tensors)

    def get(self, key: str) -> Tensors:
        """Return a result that was found or put; raises TrainerError when its file was damaged meanwhile."""
        with self._lock:
            if key in self._memory:
                self._memory.move_to_end(key)
                return self._memory[key]
            try:
                tensors = _load(self._places[key])
            except (SafetensorError, OSError) as error:
                raise TrainerError(f"the cache file {self._places[key]} was damaged while training ({error}); resume.") from None
            self._remember(key, tensors)
            return tensors

    def forget_unwanted(self) -> None:
        """Remove what no run has wanted for KEPT_S from the folders that were looked into."""
        for path in (path for folder in self._folders if self.to_disk for path in folder.glob("*.safetensors")):
            with suppress(OSError):  # another run was faster, or the folder may only be read
                if time.time() - path.stat().st_mtime > KEPT_S:
                    path.unlink()

    def _can_write(self, place: Path) -> bool:
        if place not in self._is_writable:
            self._is_writable[place] = _prepare(place)
        return self._is_writable[place]

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


def _touch(path: Path) -> None:
    """Note that a file is wanted, at most once a day."""
    with suppress(OSError):
        if time.time() - path.stat().st_mtime > TOUCHED_S:
            os.utime(path)


def _prepare(place: Path) -> bool:
    """Make a cache folder and clear what killed runs left in it; says whether it can be written."""
    try:
        place.mkdir(exist_ok=True)
        (place / ".gitignore").write_text("*\n")
        for left in place.glob(f"*{PARTIAL}"):
            if time.time() - left.stat().st_mtime > LEFT_BEHIND_S:
                left.unlink(missing_ok=True)
    except FileNotFoundError:
        return place.is_dir()  # another run cleared the same file
    except OSError as error:
        if error.errno in UNWRITABLE:
            return False
        raise
    return os.access(place, os.W_OK)


def _load(path: Path) -> Tensors:
    """Read a cache file; raises SafetensorError or OSError when it is not what was written."""
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no dict
        if (file.metadata() or {}).get("sha256") != _checksum(tensors):
            raise SafetensorError("the checksum does not match")
    return tensors


def _checksum(tensors: Tensors) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()

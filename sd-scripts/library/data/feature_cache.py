"""Encoded images and captions, cached by content."""

import errno
import hashlib
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock

import torch
from torch import Tensor, nn

from fluxgym.contract.checkpoint_manifest import sha256
from fluxgym.contract.codes import ReasonCode
from fluxgym.contract.files import CACHE_FOLDER, PARTIAL_ENDING
from library.config import BaseWeights, DataConfig, ModelConfig
from library.data.captions import CaptionContext, caption_at
from library.data.image_index import TrainingImage
from library.data.transforms import load_pixels
from library.errors import TrainerError
from library.models.family import ModelFamily, Part, TextEncoders
from library.weights.safetensors_file import WeightFile, save_tensors
from networks.lora_merge import text_identity

OnItem = Callable[[int, int], None]
VERSION = 2  # increases when encoding changes
MEMORY_BYTES = 2 << 30
LEFT_BEHIND_S = 3600  # age of an unfinished file whose run was killed
TOUCHED_S, KEPT_S = 24 * 3600, 30 * 24 * 3600  # a file's time says, to a day, when a run last used it
UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST, errno.ENOTDIR)

Tensors = dict[str, Tensor]


class FeatureCache:
    """Latents, masks and text encoder outputs, by an image's index in the list of all images."""

    def __init__(self, data: DataConfig, model: ModelConfig, base_weights: Sequence[BaseWeights], images: list[TrainingImage]) -> None:
        self.model, self.base_weights, self.images = model, base_weights, images
        self._latents = Cache(to_disk=data.cache_latents_to_disk)
        self._texts = Cache(to_disk=data.cache_text_encoder_outputs_to_disk)
        self._latent_keys: dict[tuple[int, bool], str] = {}
        self._text_keys: dict[int, str] = {}

    def latents(self, index: int, flip: bool) -> tuple[Tensor, Tensor | None]:
        """Return an image's latents (C, h, w) and its mask (h, w), or None without a mask."""
        tensors = self._latents.get(self._latent_keys[index, flip])
        return tensors["latents"].float(), tensors.get("mask")

    def text(self, index: int) -> dict[str, Tensor]:
        """Return a caption's tensors by the family's names, one row of each."""
        return self._texts.get(self._text_keys[index])

    @torch.no_grad()
    def cache_latents(self, family: ModelFamily, vae: nn.Module, on_item: OnItem) -> None:
        """Encode every image that is not cached, and its mirror image with flip_aug; on_item(done, total) may raise to stop."""
        model, parameter = family.image_cache_identity(self.model), next(vae.parameters())
        wanted = [(index, flip) for index, p in enumerate(self.images) for flip in ((False, True) if p.subset.flip_aug else (False,))]
        for done, (index, flip) in enumerate(wanted, 1):
            image = self.images[index]
            key = key_of("latents", *_image_identity(image), flip, model, parameter.dtype)
            self._latent_keys[index, flip] = key
            if not self._latents.find(key, image.folder):
                self._latents.put(key, image.folder, _encode(family, vae, image, flip))
            on_item(done, len(wanted))
        self._latents.remove_unused()

    @torch.no_grad()
    def cache_text(self, family: ModelFamily, encoders: TextEncoders, train: frozenset[Part], on_item: OnItem) -> None:
        """Encode every caption that is not cached; an encoder in `train` leaves its token ids instead of its output."""
        models = *family.text_cache_identity(self.model, train), *text_identity(self.base_weights)
        for index, image in enumerate(self.images):
            text = caption_at(image.caption, image.subset, torch.Generator(), CaptionContext())
            key = key_of("text", text, key_of(*encoders.token_ids(text)), models, encoders.variant, encoders.dtype)
            self._text_keys[index] = key
            if not self._texts.find(key, image.folder):
                encoded = family.encode_text(encoders, [text], train)
                self._texts.put(key, image.folder, {name: tensor[0] for name, tensor in encoded.items()})
            on_item(index + 1, len(self.images))
        self._texts.remove_unused()


def _image_identity(image: TrainingImage) -> tuple[object, ...]:
    """Return everything that an image's latents and mask depend on, except the VAE."""
    mask = "alpha" if image.subset.alpha_mask else _content(image.mask_path) if image.mask_path else ""
    return _content(image.path), image.fit, image.subset.resize_interpolation, mask


def _content(path: Path) -> str:
    try:
        return sha256(path)
    except OSError as error:
        raise TrainerError(f"{path} cannot be read: {error.strerror}.") from None


def _encode(family: ModelFamily, vae: nn.Module, image: TrainingImage, flip: bool) -> dict[str, Tensor]:
    """Read and encode an image.

    Raises:
        TrainerError (nan): If the VAE's output is not finite.
    """
    pixels, mask = load_pixels(image, flip, torch.Generator())
    latents = family.encode_image(vae, pixels[None], None)[0]
    if not latents.isfinite().all():
        raise TrainerError(f"The VAE encodes {image.path} as NaN or infinity; try --no_half_vae.", reason_code=ReasonCode.NAN)
    return {"latents": latents} if mask is None else {"latents": latents, "mask": mask}


def key_of(*parts: object) -> str:
    """Return the cache key of a result: a hash of everything that it depends on."""
    digest = hashlib.sha256(str(VERSION).encode())
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode()
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()


class Cache:
    """Results by key: on disk next to the images and in memory up to MEMORY_BYTES, or in memory only. `get` is thread-safe."""

    def __init__(self, *, to_disk: bool) -> None:
        self.to_disk = to_disk
        self._paths: dict[str, Path] = {}
        self._memory: OrderedDict[str, Tensors] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()
        self._is_writable: dict[Path, bool] = {}
        self._folders: set[Path] = set()

    def find(self, key: str, folder: Path) -> bool:
        """Return True if a complete result is in memory or in the cache of a folder of images."""
        if key in self._memory or key in self._paths:
            return True
        self._folders.add(folder / CACHE_FOLDER)
        path = folder / CACHE_FOLDER / f"{key}.safetensors"
        if not (self.to_disk and path.is_file()):
            return False
        try:
            tensors = _load(path)
        except (TrainerError, OSError):
            return False  # damaged: computed again
        self._paths[key] = path
        self._remember(key, tensors)
        _touch(path)
        return True

    def put(self, key: str, folder: Path, tensors: Tensors) -> None:
        """Store a result, in memory only if the folder is not writable.

        Raises:
            TrainerError: If the disk is full.
        """
        tensors = {name: tensor.detach().to("cpu").contiguous() for name, tensor in tensors.items()}
        cache = folder / CACHE_FOLDER
        if self.to_disk and self._can_write(cache):
            save_tensors(tensors, cache / f"{key}.safetensors", {"sha256": _checksum(tensors)})
            self._paths[key] = cache / f"{key}.safetensors"
        self._remember(key, tensors)

    def get(self, key: str) -> Tensors:
        """Return a result that was found or stored.

        Raises:
            TrainerError: If its file has been damaged since.
        """
        with self._lock:
            if key in self._memory:
                self._memory.move_to_end(key)
                return self._memory[key]
            try:
                tensors = _load(self._paths[key])
            except (TrainerError, OSError) as error:
                raise TrainerError(f"The cache file {self._paths[key]} was damaged while training ({error}); resume.") from None
            self._remember(key, tensors)
            return tensors

    def remove_unused(self) -> None:
        """Remove files that no run has used for KEPT_S from the folders that were searched."""
        for path in (path for folder in self._folders if self.to_disk for path in folder.glob("*.safetensors")):
            with suppress(OSError):  # removed by another run, or the folder is read-only
                if time.time() - path.stat().st_mtime > KEPT_S:
                    path.unlink()

    def _can_write(self, cache: Path) -> bool:
        if cache not in self._is_writable:
            self._is_writable[cache] = _prepare(cache)
        return self._is_writable[cache]

    def _remember(self, key: str, tensors: Tensors) -> None:
        self._memory[key] = tensors
        self._bytes += _size(tensors)
        while self._bytes > MEMORY_BYTES:
            oldest = next((name for name in self._memory if name in self._paths and name != key), None)
            if oldest is None:
                return  # the rest is not on disk
            self._bytes -= _size(self._memory.pop(oldest))


def _size(tensors: Tensors) -> int:
    return sum(tensor.nbytes for tensor in tensors.values())


def _touch(path: Path) -> None:
    """Record that a file is used, at most once a day."""
    with suppress(OSError):
        if time.time() - path.stat().st_mtime > TOUCHED_S:
            os.utime(path)


def _prepare(cache: Path) -> bool:
    """Create a cache folder and remove unfinished files of killed runs. Return True if it is writable."""
    try:
        cache.mkdir(exist_ok=True)
        (cache / ".gitignore").write_text("*\n")
        for left in cache.glob(f"*{PARTIAL_ENDING}"):
            if time.time() - left.stat().st_mtime > LEFT_BEHIND_S:
                left.unlink(missing_ok=True)
    except FileNotFoundError:
        return cache.is_dir()  # another run removed the same file
    except OSError as error:
        if error.errno in UNWRITABLE:
            return False
        raise
    return os.access(cache, os.W_OK)


def _load(path: Path) -> Tensors:
    """Read a cache file. It is not memory-mapped, which some volumes refuse.

    Raises:
        TrainerError, OSError: If it differs from what was written.
    """
    file = WeightFile(path, "the cache file", mapped=False)
    tensors = {name: file.tensor(name) for name in file.names}
    if file.metadata.get("sha256") != _checksum(tensors):
        raise TrainerError("the checksum does not match")
    return tensors


def _checksum(tensors: Tensors) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()

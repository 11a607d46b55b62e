"""Encoded images and captions, cached by content."""

import errno
import hashlib
import os
import time
from argparse import Namespace
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Lock

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from fluxgym.contract.checkpoint_manifest import sha256
from fluxgym.contract.codes import ReasonCode
from fluxgym.contract.files import CACHE_FOLDER, PARTIAL_ENDING
from library.config import BaseWeights
from library.data.captions import CaptionContext, caption_at
from library.data.image_index import TrainingImage
from library.data.transforms import load_pixels
from library.errors import TrainerError
from library.files import save_tensors
from library.models.flux1.text_encoders import ClipTextEncoder, Flux1TextEncoders
from library.models.flux1.vae import VAE
from library.weights.model_files import fingerprint
from networks.lora_merge import text_identity

OnItem = Callable[[int, int], None]
VERSION = 2  # counts changes of what is encoded and how
MEMORY_BYTES = 2 << 30
LEFT_BEHIND_S = 3600  # a file that a killed run did not finish
TOUCHED_S, KEPT_S = 24 * 3600, 30 * 24 * 3600  # a file's time says, to a day, when a run last wanted it
UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST, errno.ENOTDIR)

Tensors = dict[str, Tensor]


class FeatureCache:
    """Latents, masks and text states by an image's place in the list of all images."""

    def __init__(self, args: Namespace, images: list[TrainingImage]) -> None:
        self.args, self.images = args, images
        multipliers = [*(args.base_weights_multiplier or []), *([1.0] * len(args.base_weights or []))]
        self.base_weights = [
            BaseWeights(path=path, multiplier=each) for path, each in zip(args.base_weights or [], multipliers, strict=False)
        ]
        self._latents = Cache(to_disk=args.cache_latents_to_disk)
        self._texts = Cache(to_disk=args.cache_text_encoder_outputs_to_disk)
        self._latent_keys: dict[tuple[int, bool], str] = {}
        self._text_keys: dict[int, str] = {}

    def latents(self, place: int, flip: bool) -> tuple[Tensor, Tensor | None]:
        """Return an image's latents (16, h, w) and its mask (h, w), None without one."""
        found = self._latents.get(self._latent_keys[place, flip])
        return found["latents"].float(), found.get("mask")

    def text(self, place: int) -> dict[str, Tensor]:
        """Return a caption's states as a batch has them, one row of each."""
        return self._texts.get(self._text_keys[place])

    @torch.no_grad()
    def cache_latents(self, vae: VAE, on_item: OnItem) -> None:
        """Encode every image that no cache holds, mirrored too where flip_aug is on; on_item(done, total) may raise to stop."""
        model, parameter = fingerprint(self.args.ae), next(vae.parameters())
        wanted = [(place, flip) for place, p in enumerate(self.images) for flip in ((False, True) if p.subset.flip_aug else (False,))]
        for done, (place, flip) in enumerate(wanted, 1):
            image = self.images[place]
            key = key_of("latents", *_made_from(image), flip, model, parameter.dtype)
            self._latent_keys[place, flip] = key
            if not self._latents.find(key, image.folder):
                self._latents.put(key, image.folder, _encode(vae, image, flip))
            on_item(done, len(wanted))
        self._latents.forget_unwanted()

    @torch.no_grad()
    def cache_text(self, clip: ClipTextEncoder | None, encoders: Flux1TextEncoders, on_item: OnItem) -> None:
        """Encode every caption that no cache holds; without `clip` (it is trained) its token ids are kept in place of its output."""
        args = self.args
        models = fingerprint(args.t5xxl), fingerprint(args.clip_l) if clip is not None else "ids", *text_identity(self.base_weights)
        for place, image in enumerate(self.images):
            text = caption_at(image.caption, image.subset, torch.Generator(), CaptionContext())
            tokens = key_of(encoders.tokenizers.t5([text])[0].tolist(), encoders.tokenizers.clip([text]).tolist())
            key = key_of("text", text, tokens, models, encoders.with_mask, encoders.dtype)
            self._text_keys[place] = key
            if not self._texts.find(key, image.folder):
                states = encoders.states(text)
                kept = {"t5_out": states.context[0]}
                kept |= {"clip_ids": states.clip_ids[0]} if clip is None else {"clip_pooled": states.pooled[0]}
                kept |= {} if states.mask is None else {"t5_mask": states.mask[0]}
                self._texts.put(key, image.folder, kept)
            on_item(place + 1, len(self.images))
        self._texts.forget_unwanted()


def _made_from(image: TrainingImage) -> tuple[object, ...]:
    """What shapes an image's latents and mask, but for the autoencoder."""
    mask = "alpha" if image.subset.alpha_mask else _content(image.mask_path) if image.mask_path else ""
    return _content(image.path), image.fit, image.subset.resize_interpolation, mask


def _content(path: Path) -> str:
    try:
        return sha256(path)
    except OSError as error:
        raise TrainerError(f"{path} cannot be read: {error.strerror}.") from None


def _encode(vae: VAE, image: TrainingImage, flip: bool) -> dict[str, Tensor]:
    """Read and encode an image; raises TrainerError (nan) when the autoencoder fails on it."""
    pixels, mask = load_pixels(image, flip, torch.Generator())
    latents = vae.encode(pixels[None].to(next(vae.parameters())))[0].float()
    if not latents.isfinite().all():
        raise TrainerError(f"the autoencoder made no finite latents of {image.path}; try --no_half_vae.", reason_code=ReasonCode.NAN)
    return {"latents": latents} if mask is None else {"latents": latents, "mask": mask}


def key_of(*parts: object) -> str:
    """Hash what a result is made from; bytes and texts of any length."""
    digest = hashlib.sha256(str(VERSION).encode())
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode()
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()


class Cache:
    """Results by key: on the disk beside the images, and in memory up to MEMORY_BYTES; without a disk all in memory.

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
        """Return True if a result is there, whole, in memory or in a folder of images."""
        if key in self._memory or key in self._places:
            return True
        self._folders.add(folder / CACHE_FOLDER)
        path = folder / CACHE_FOLDER / f"{key}.safetensors"
        if not (self.to_disk and path.is_file()):
            return False
        try:
            tensors = _load(path)
        except (SafetensorError, OSError):
            return False  # damaged: made again
        self._places[key] = path
        self._remember(key, tensors)
        _touch(path)
        return True

    def put(self, key: str, folder: Path, tensors: Tensors) -> None:
        """Keep a result; a folder that cannot be written is made up for in memory, a full disk is a TrainerError."""
        tensors = {name: tensor.detach().to("cpu").contiguous() for name, tensor in tensors.items()}
        place = folder / CACHE_FOLDER
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
        for left in place.glob(f"*{PARTIAL_ENDING}"):
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

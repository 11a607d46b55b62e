"""What the encoders make of the pictures and captions of a training, each once, kept in caches that know what it was made from.

Pictures and captions are encoded one by one: in batches a result's last bits would depend on its neighbours, and caches could not be shared.
"""

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from library.data.caches import Cache, key_of
from library.data.captions import Moment, caption_at
from library.data.pictures_found import Picture
from library.data.pixels import load_pixels
from library.errors import TrainerError
from library.files import sha256
from library.models.autoencoder import AutoEncoder
from library.models.model_files import fingerprint
from library.models.text_encoders import ClipTextEncoder, TextEncoders
from networks.base_weights import text_identity

OnItem = Callable[[int, int], None]


class Encoded:
    """Latents, masks and text states by a picture's place in the list of all pictures."""

    def __init__(self, args: Namespace, pictures: list[Picture]) -> None:
        self.args, self.pictures = args, pictures
        self._latents = Cache(to_disk=args.cache_latents_to_disk)
        self._texts = Cache(to_disk=args.cache_text_encoder_outputs_to_disk)
        self._latent_keys: dict[tuple[int, bool], str] = {}
        self._text_keys: dict[int, str] = {}

    def latents(self, place: int, flip: bool) -> tuple[Tensor, Tensor | None]:
        """Return a picture's latents (16, h, w) and its mask (h, w), None without one."""
        found = self._latents.get(self._latent_keys[place, flip])
        return found["latents"].float(), found.get("mask")

    def text(self, place: int) -> dict[str, Tensor]:
        """Return a caption's states as a batch has them, one row of each."""
        return self._texts.get(self._text_keys[place])

    @torch.no_grad()
    def cache_latents(self, vae: AutoEncoder, on_item: OnItem) -> None:
        """Encode every picture that no cache holds, mirrored too where flip_aug is on; on_item(done, total) may raise to stop."""
        model, parameter = fingerprint(self.args.ae), next(vae.parameters())
        wanted = [(place, flip) for place, p in enumerate(self.pictures) for flip in ((False, True) if p.subset.flip_aug else (False,))]
        for done, (place, flip) in enumerate(wanted, 1):
            picture = self.pictures[place]
            key = key_of("latents", *_made_from(picture), flip, model, parameter.dtype)
            self._latent_keys[place, flip] = key
            if not self._latents.find(key, picture.folder):
                self._latents.put(key, picture.folder, _encode(vae, picture, flip))
            on_item(done, len(wanted))
        self._latents.forget_unwanted()

    @torch.no_grad()
    def cache_text(self, clip: ClipTextEncoder | None, encoders: TextEncoders, on_item: OnItem) -> None:
        """Encode every caption that no cache holds; without `clip` (it is trained) its token ids are kept in place of its output."""
        args = self.args
        models = fingerprint(args.t5xxl), fingerprint(args.clip_l) if clip is not None else "ids", *text_identity(args)
        for place, picture in enumerate(self.pictures):
            text = caption_at(picture.caption, picture.subset, torch.Generator(), Moment())
            tokens = key_of(encoders.tokenizers.t5([text])[0].tolist(), encoders.tokenizers.clip([text]).tolist())
            key = key_of("text", text, tokens, models, encoders.with_mask, encoders.dtype)
            self._text_keys[place] = key
            if not self._texts.find(key, picture.folder):
                states = encoders.states(text)
                kept = {"t5_out": states.context[0]}
                kept |= {"clip_ids": states.clip_ids[0]} if clip is None else {"clip_pooled": states.pooled[0]}
                kept |= {} if states.mask is None else {"t5_mask": states.mask[0]}
                self._texts.put(key, picture.folder, kept)
            on_item(place + 1, len(self.pictures))
        self._texts.forget_unwanted()


def _made_from(picture: Picture) -> tuple[object, ...]:
    """What shapes a picture's latents and mask, but for the autoencoder."""
    mask = "alpha" if picture.subset.alpha_mask else _content(picture.mask_path) if picture.mask_path else ""
    return _content(picture.path), picture.fit, picture.subset.resize_interpolation, mask


def _content(path: Path) -> str:
    try:
        return sha256(path)
    except OSError as error:
        raise TrainerError(f"{path} cannot be read: {error.strerror}.") from None


def _encode(vae: AutoEncoder, picture: Picture, flip: bool) -> dict[str, Tensor]:
    """Read and encode a picture; raises TrainerError (nan) when the autoencoder fails on it."""
    pixels, mask = load_pixels(picture, flip, torch.Generator())
    latents = vae.encode(pixels[None].to(next(vae.parameters())))[0].float()
    if not latents.isfinite().all():
        raise TrainerError(f"the autoencoder made no finite latents of {picture.path}; try --no_half_vae.", reason_code="nan")
    return {"latents": latents} if mask is None else {"latents": latents, "mask": mask}

"""CLIP-L and T5: their tokenizers, and what FLUX takes from them. Their files are encoder_loading.py's.

Shape suffixes: B batch, L tokens, V pooled width, C context width.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerBase, T5EncoderModel

from fluxgym.contract.codes import ReasonCode
from library.errors import TrainerError
from library.models.flux1.loading import ClipTextEncoder, load_clip_l, load_t5
from library.weights.model_files import ModelFiles

CLIP_ID, T5_ID = "openai/clip-vit-large-patch14", "google/t5-v1_1-xxl"


def encode_clip(model: ClipTextEncoder, ids_BL: Tensor) -> Tensor:
    """(B, 77) -> (B, V)."""
    return model(ids_BL)


def encode_t5(model: T5EncoderModel, ids_BL: Tensor, mask_BL: Tensor | None = None) -> Tensor:
    """(B, L) -> (B, L, C). With a mask, padding is neither attended to nor returned (zeros); kohya's default is without."""
    states = model(input_ids=ids_BL, attention_mask=mask_BL).last_hidden_state
    return states if mask_BL is None else states * mask_BL[..., None].to(states.dtype)


@dataclass(frozen=True)
class Tokenizers:
    """The two tokenizers, each padding to a fixed length: 77 for CLIP, `t5_length` for T5."""

    clip_tokenizer: PreTrainedTokenizerBase
    t5_tokenizer: PreTrainedTokenizerBase
    t5_length: int

    def clip(self, captions: list[str]) -> Tensor:
        """B captions -> (B, 77) ids, cut and padded."""
        return self._ids(self.clip_tokenizer, captions, 77)["input_ids"]

    def t5(self, captions: list[str]) -> tuple[Tensor, Tensor]:
        """B captions -> (B, L) ids and (B, L) mask, 1 where a token is no padding."""
        encoded = self._ids(self.t5_tokenizer, captions, self.t5_length)
        return encoded["input_ids"], encoded["attention_mask"]

    @staticmethod
    def _ids(tokenizer: PreTrainedTokenizerBase, captions: list[str], length: int) -> dict[str, Tensor]:
        return tokenizer(captions, max_length=length, padding="max_length", truncation=True, return_tensors="pt")


def load_tokenizers(clip_path: str, t5_path: str, cache_dir: str | None, t5_max_length: int) -> Tokenizers:
    """Load both tokenizers from `cache_dir` (kohya's layout), else from beside the encoders' files.

    `t5_max_length` is cut to what the tokenizer itself says is its longest text. Raises TrainerError when one is not found.
    """
    clip = _load_tokenizer(CLIP_ID, ("tokenizer_clip", "tokenizer"), clip_path, cache_dir)
    t5 = _load_tokenizer(T5_ID, ("tokenizer_t5", "tokenizer_2"), t5_path, cache_dir)
    return Tokenizers(clip, t5, min(t5_max_length, t5.model_max_length))


def _load_tokenizer(hub_id: str, folders: tuple[str, str], encoder_path: str, cache_dir: str | None) -> PreTrainedTokenizerBase:
    """Load one from kohya's cache, from beside the encoder under our name or kohya's, or from diffusers' folder beside or in it."""
    encoder, (ours, diffusers) = Path(encoder_path), folders
    places = [Path(cache_dir) / hub_id.replace("/", "_")] if cache_dir else []
    places += [encoder.parent / ours, encoder.parent / hub_id.replace("/", "_")]
    places += [encoder.parent / diffusers, encoder / diffusers] if encoder.is_dir() else []
    found = next((place for place in places if place.is_dir()), None)
    if found is None:
        tried = ", ".join(str(place) for place in places)
        raise TrainerError(f"the tokenizer of {hub_id} was not found (looked in {tried}); put its files into one of them.")
    try:
        return AutoTokenizer.from_pretrained(str(found), local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise TrainerError(f"the tokenizer in {found} cannot be read: {error}", reason_code=ReasonCode.BAD_MODEL) from None


@dataclass(frozen=True)
class TextStates:
    """What FLUX takes from captions: T5's states (B, L, C), CLIP's pooled output (B, V), CLIP's ids (B, 77), and T5's mask if it counts."""

    context: Tensor
    pooled: Tensor
    clip_ids: Tensor
    mask: Tensor | None


@dataclass
class TextEncoders:
    """Both encoders with their tokenizers; `t5` becomes None once it is let go."""

    clip: ClipTextEncoder
    t5: T5EncoderModel | None
    tokenizers: Tokenizers
    with_mask: bool = False

    @property
    def dtype(self) -> torch.dtype:
        """The precision that captions are encoded in."""
        return self.clip.text_model.dtype

    def states(self, captions: str | list[str], *, trains_t5: bool = False) -> TextStates:
        """Encode B captions (or one) on the encoders' device, without gradients but for a T5 that is trained.

        with_mask is kohya's --apply_t5_attn_mask.
        """
        captions = [captions] if isinstance(captions, str) else captions
        assert self.t5 is not None, "T5 has been let go"
        device = self.t5.device
        t5_ids, mask = (tensor.to(device) for tensor in self.tokenizers.t5(captions))
        clip_ids = self.tokenizers.clip(captions).to(device)
        with torch.set_grad_enabled(trains_t5):
            context = encode_t5(self.t5, t5_ids, mask if self.with_mask else None)
        with torch.no_grad():
            pooled = encode_clip(self.clip, clip_ids)
        return TextStates(context, pooled, clip_ids, mask if self.with_mask else None)


def load_text_encoders(
    clip_path: str,
    t5_path: str,
    *,
    cache_dir: str | None,
    t5_max_length: int,
    with_mask: bool,
    dtype: torch.dtype,
    device: torch.device,
    mapped: bool = True,
) -> TextEncoders:
    """Load CLIP-L, T5 and both tokenizers; raises TrainerError when one is missing, damaged, or something else."""
    for path, what, folder in ((clip_path, "the CLIP-L text encoder", "text_encoder"), (t5_path, "the T5 text encoder", "text_encoder_2")):
        ModelFiles(path, what, folders=(folder,))  # a mistyped path is that, not a missing tokenizer
    tokenizers = load_tokenizers(clip_path, t5_path, cache_dir, t5_max_length)
    clip = load_clip_l(clip_path, dtype=dtype, device=device, mapped=mapped)
    return TextEncoders(clip, load_t5(t5_path, dtype=dtype, device=device, mapped=mapped), tokenizers, with_mask)

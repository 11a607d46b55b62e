"""CLIP-L and T5: their tokenizers, and what FLUX takes from them. loading.py reads their files.

Shape suffixes: B batch, L tokens, V pooled width, C context width.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import AutoTokenizer, PreTrainedTokenizerBase, T5EncoderModel

from fluxgym.contract.codes import ReasonCode
from fluxgym.contract.regular_files import irregular_entry
from library.config import ModelConfig
from library.errors import TrainerError
from library.models.family import Part, TensorStore
from library.models.flux1.loading import ClipTextEncoder, load_clip_l, load_t5
from library.weights.model_files import ModelFiles

CLIP, T5 = Part("clip"), Part("t5")
CLIP_ID, T5_ID = "openai/clip-vit-large-patch14", "google/t5-v1_1-xxl"


def encode_clip(model: ClipTextEncoder, ids_BL: Tensor) -> Tensor:
    """(B, 77) -> (B, V)."""
    pooled: Tensor = model(ids_BL)
    return pooled


def encode_t5(model: T5EncoderModel, ids_BL: Tensor, mask_BL: Tensor | None = None) -> Tensor:
    """(B, L) -> (B, L, C). With a mask, padding is not attended to and its states are zeros; kohya uses no mask by default."""
    states: Tensor = model(input_ids=ids_BL, attention_mask=mask_BL).last_hidden_state
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
        """B captions -> (B, L) ids and (B, L) mask, 1 where a token is not padding."""
        encoded = self._ids(self.t5_tokenizer, captions, self.t5_length)
        return encoded["input_ids"], encoded["attention_mask"]

    @staticmethod
    def _ids(tokenizer: PreTrainedTokenizerBase, captions: list[str], length: int) -> Mapping[str, Tensor]:
        ids: Mapping[str, Tensor] = tokenizer(captions, max_length=length, padding="max_length", truncation=True, return_tensors="pt")
        return ids


def load_tokenizers(clip_path: str, t5_path: str, cache_dir: str | None, t5_max_length: int) -> Tokenizers:
    """Load both tokenizers from `cache_dir` (kohya's layout), else from beside the encoders' files.

    `t5_max_length` is limited to the longest text that the tokenizer allows.

    Raises:
        TrainerError: If a tokenizer is missing or cannot be read.
    """
    clip = _load_tokenizer(CLIP_ID, ("tokenizer_clip", "tokenizer"), clip_path, cache_dir)
    t5 = _load_tokenizer(T5_ID, ("tokenizer_t5", "tokenizer_2"), t5_path, cache_dir)
    return Tokenizers(clip, t5, min(t5_max_length, t5.model_max_length))


def _load_tokenizer(hub_id: str, folders: tuple[str, str], encoder_path: str, cache_dir: str | None) -> PreTrainedTokenizerBase:
    """Load one from kohya's cache, from beside the encoder under our name or kohya's, or from diffusers' folder beside or in it."""
    encoder, (ours, diffusers) = Path(encoder_path), folders
    folders_tried = [Path(cache_dir) / hub_id.replace("/", "_")] if cache_dir else []
    folders_tried += [encoder.parent / ours, encoder.parent / hub_id.replace("/", "_")]
    folders_tried += [encoder.parent / diffusers, encoder / diffusers] if encoder.is_dir() else []
    folder_found = next((folder for folder in folders_tried if folder.is_dir()), None)
    if folder_found is None:
        tried = ", ".join(str(folder) for folder in folders_tried)
        raise TrainerError(f"The tokenizer of {hub_id} was not found (looked in {tried}); put its files into one of them.")
    if entry := irregular_entry(folder_found):
        path, reason = entry
        raise TrainerError(f"The tokenizer's file {path} cannot be read: {reason}.", reason_code=ReasonCode.BAD_MODEL)
    try:
        return AutoTokenizer.from_pretrained(str(folder_found), local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise TrainerError(f"The tokenizer in {folder_found} cannot be read: {error}", reason_code=ReasonCode.BAD_MODEL) from None


@dataclass(frozen=True)
class TextStates:
    """What FLUX takes from captions: T5's states (B, L, C), CLIP's pooled output (B, V), CLIP's ids (B, 77), T5's mask if padding is masked."""

    context: Tensor
    pooled: Tensor
    clip_ids: Tensor
    mask: Tensor | None


@dataclass
class Flux1TextEncoders:
    """Both encoders with their tokenizers; `t5` is None once it is released. `with_mask` is kohya's --apply_t5_attn_mask."""

    clip: ClipTextEncoder
    t5: T5EncoderModel | None
    tokenizers: Tokenizers
    with_mask: bool = False

    @property
    def dtype(self) -> torch.dtype:
        """The precision that captions are encoded in."""
        return self.clip.text_model.dtype

    @property
    def variant(self) -> bool:
        """True if T5's padding is masked (--apply_t5_attn_mask)."""
        return self.with_mask

    def parts(self) -> dict[Part, nn.Module]:
        """Return the encoders that are in memory."""
        return {CLIP: self.clip} if self.t5 is None else {CLIP: self.clip, T5: self.t5}

    def token_ids(self, caption: str) -> tuple[object, ...]:
        """Return T5's ids of a caption and CLIP's, in a list of one row."""
        return self.tokenizers.t5([caption])[0].tolist(), self.tokenizers.clip([caption]).tolist()

    def lengths(self, captions: Mapping[str, str]) -> tuple[dict[str, int], int]:
        """Return the number of T5's tokens of captions by image, and the number of tokens that T5 reads of each."""
        tokenizer, limit = self.tokenizers.t5_tokenizer, self.tokenizers.t5_length
        # A token has at least one byte, so that a short caption need not be counted.
        long = {name: text for name, text in captions.items() if len(text.encode()) + len(text.split()) + 1 > limit}
        return {name: len(tokenizer(text, verbose=False)["input_ids"]) for name, text in long.items()}, limit

    def release(self, keep: frozenset[Part]) -> None:
        """Free T5 unless it is in `keep`. CLIP is small and stays."""
        if T5 not in keep:
            self.t5 = None

    def states(self, captions: str | list[str], *, trains_t5: bool = False) -> TextStates:
        """Encode B captions (or one) on the encoders' device, without gradients except for a T5 that is trained."""
        captions = [captions] if isinstance(captions, str) else captions
        assert self.t5 is not None, "T5 has been released"
        device = self.t5.device
        t5_ids, mask = (tensor.to(device) for tensor in self.tokenizers.t5(captions))
        clip_ids = self.tokenizers.clip(captions).to(device)
        with torch.set_grad_enabled(trains_t5):
            context = encode_t5(self.t5, t5_ids, mask if self.with_mask else None)
        with torch.no_grad():
            pooled = encode_clip(self.clip, clip_ids)
        return TextStates(context, pooled, clip_ids, mask if self.with_mask else None)


def load_text_encoders(files: ModelConfig, store: TensorStore, dtype: torch.dtype, *, t5_length: int) -> Flux1TextEncoders:
    """Load CLIP-L on the store's device, T5 as the store decides, and both tokenizers.

    Raises:
        TrainerError: If one is missing, damaged, or another model.
    """
    paths = ((files.clip_l, "the CLIP-L text encoder", "text_encoder"), (files.t5xxl, "the T5 text encoder", "text_encoder_2"))
    for path, what, folder in paths:
        ModelFiles(path, what, folders=(folder,))  # a mistyped path is reported as such, not as a missing tokenizer
    mapped = not files.disable_mmap_load_safetensors
    tokenizers = load_tokenizers(files.clip_l, files.t5xxl, files.tokenizer_cache_dir, t5_length)
    clip = load_clip_l(files.clip_l, dtype=dtype, device=store.device, mapped=mapped)
    t5 = load_t5(files.t5xxl, dtype=dtype, store=store, mapped=mapped)
    return Flux1TextEncoders(clip, t5, tokenizers, files.apply_t5_attn_mask)

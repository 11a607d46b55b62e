"""CLIP-L and T5: loading from ComfyUI's files, their tokenizers, and what FLUX takes from them.

The networks are transformers' own; every dimension is read from the tensors' shapes (CLIP's heads are 64 wide, which shapes do not tell).
Shape suffixes: B batch, L tokens, V pooled width, C context width.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import init_empty_weights
from torch import Tensor, nn
from transformers import AutoTokenizer, CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerBase, T5Config, T5EncoderModel

from library.errors import TrainerError
from library.weights import WeightFile

CLIP_HEAD_DIM = 64
CLIP_ID, T5_ID = "openai/clip-vit-large-patch14", "google/t5-v1_1-xxl"


class ClipTextEncoder(nn.Module):
    """CLIP's text encoder under the names of ComfyUI's file, `text_model.…`, which LoRA keys repeat."""

    def __init__(self, config: CLIPTextConfig) -> None:
        super().__init__()
        self.text_model = CLIPTextModel(config)

    def forward(self, ids_BL: Tensor) -> Tensor:
        """(B, 77) token ids -> (B, V) pooled output at the end-of-text token."""
        return self.text_model(input_ids=ids_BL).pooler_output


def load_clip_l(path: str, *, dtype: torch.dtype | None, device: torch.device | str) -> ClipTextEncoder:
    """Load clip_l.safetensors; raises TrainerError (bad_model) when it is missing, damaged, or another model."""
    file = WeightFile(path, "the CLIP-L text encoder")
    try:
        vocab, width = file.shape("text_model.embeddings.token_embedding.weight")
        config = CLIPTextConfig(
            vocab_size=vocab,
            hidden_size=width,
            intermediate_size=file.shape("text_model.encoder.layers.0.mlp.fc1.weight")[0],
            num_hidden_layers=_count(file, r"text_model\.encoder\.layers\.(\d+)\."),
            num_attention_heads=width // CLIP_HEAD_DIM,
            max_position_embeddings=file.shape("text_model.embeddings.position_embedding.weight")[0],
            hidden_act="quick_gelu",
            bos_token_id=0,
            eos_token_id=2,  # transformers' name for "pool at the highest id", which is end-of-text in every CLIP vocabulary
        )
    except KeyError as error:
        raise _other_model(path, "CLIP-L", error) from None
    with init_empty_weights(include_buffers=False):
        model = ClipTextEncoder(config)
    file.load_into(model, dtype=dtype, device=device)
    return model.to(device).eval().requires_grad_(False)


def load_t5(path: str, *, dtype: torch.dtype | None, device: torch.device | str) -> T5EncoderModel:
    """Load a T5 v1.1 encoder (t5xxl_fp16.safetensors); raises TrainerError (bad_model) when it is missing, damaged, or another model."""
    file = WeightFile(path, "the T5 text encoder")
    first = "encoder.block.0.layer"
    try:
        vocab, width = file.shape("shared.weight")
        buckets, heads = file.shape(f"{first}.0.SelfAttention.relative_attention_bias.weight")
        config = T5Config(
            vocab_size=vocab,
            d_model=width,
            d_kv=file.shape(f"{first}.0.SelfAttention.q.weight")[0] // heads,
            d_ff=file.shape(f"{first}.1.DenseReluDense.wi_0.weight")[0],
            num_layers=_count(file, r"encoder\.block\.(\d+)\."),
            num_heads=heads,
            relative_attention_num_buckets=buckets,
            feed_forward_proj="gated-gelu",
            is_encoder_decoder=False,
            use_cache=False,
        )
    except KeyError as error:
        raise _other_model(path, "T5 v1.1", error) from None
    with init_empty_weights(include_buffers=False):
        model = T5EncoderModel(config)
    file.load_into(model, dtype=dtype, device=device, ignore=("encoder.embed_tokens.weight",))
    model.encoder.embed_tokens = model.shared
    return model.to(device).eval().requires_grad_(False)


def _count(file: WeightFile, pattern: str) -> int:
    return 1 + max((int(match[1]) for name in file.names if (match := re.match(pattern, name))), default=-1)


def _other_model(path: str, what: str, error: KeyError) -> TrainerError:
    return TrainerError(f"{path} is not a {what} text encoder: it lacks the tensor {error}.", reason_code="bad_model")


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
    clip = _load_tokenizer(CLIP_ID, "tokenizer_clip", clip_path, cache_dir)
    t5 = _load_tokenizer(T5_ID, "tokenizer_t5", t5_path, cache_dir)
    return Tokenizers(clip, t5, min(t5_max_length, t5.model_max_length))


def _load_tokenizer(hub_id: str, folder: str, encoder_path: str, cache_dir: str | None) -> PreTrainedTokenizerBase:
    places = [Path(cache_dir) / hub_id.replace("/", "_")] if cache_dir else []
    places += [Path(encoder_path).parent / folder, Path(encoder_path).parent / hub_id.replace("/", "_")]
    found = next((place for place in places if place.is_dir()), None)
    if found is None:
        tried = ", ".join(str(place) for place in places)
        raise TrainerError(f"the tokenizer of {hub_id} was not found (looked in {tried}); put its files into one of them.")
    try:
        return AutoTokenizer.from_pretrained(str(found), local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise TrainerError(f"the tokenizer in {found} cannot be read: {error}", reason_code="bad_model") from None


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
    clip_path: str, t5_path: str, *, cache_dir: str | None, t5_max_length: int, with_mask: bool, dtype: torch.dtype, device: torch.device
) -> TextEncoders:
    """Load CLIP-L, T5 and both tokenizers; raises TrainerError when one is missing, damaged, or something else."""
    tokenizers = load_tokenizers(clip_path, t5_path, cache_dir, t5_max_length)
    clip = load_clip_l(clip_path, dtype=dtype, device=device)
    return TextEncoders(clip, load_t5(t5_path, dtype=dtype, device=device), tokenizers, with_mask)

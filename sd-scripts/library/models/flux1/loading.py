"""Load the FLUX.1 transformer, CLIP-L and T5 from every supported file form."""

import re
from collections.abc import Callable

import torch
from accelerate import init_empty_weights
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

from fluxgym.contract.codes import ReasonCode
from library.errors import TrainerError
from library.models.family import TensorStore
from library.models.flux1.layer_names import CLIP_PREFIX, FILE_PREFIXES, FLUX_PREFIX, LAYER_NAMES, T5_PREFIX, clip_recipes
from library.models.flux1.transformer import Flux, FluxParams, params_from_shapes
from library.weights.model_files import ModelFiles, StoreTensor, TensorRecipe

IN_CHANNELS = 64  # 16 latent channels by 2x2 pixels
Prepare = Callable[[Flux], StoreTensor | None]
CLIP_HEAD_DIM = 64


def open_flux(path: str, *, mapped: bool = True) -> tuple[ModelFiles, FluxParams]:
    """Read a FLUX transformer's headers only: the open files and its dimensions.

    Raises:
        TrainerError: As load_flux does.
    """
    file = ModelFiles(path, "the FLUX model", folders=("transformer",), prefixes=FILE_PREFIXES[FLUX_PREFIX], mapped=mapped)
    file.translate(LAYER_NAMES.recipes(file.stored_names()))
    try:
        params = params_from_shapes({name: file.shape(name) for name in file.names if _is_of_transformer(name)})
    except KeyError as error:
        raise file.wrong_model_error("a FLUX transformer", str(error.args[0])) from None
    except StopIteration:
        raise file.wrong_model_error("a FLUX transformer", "double_blocks.0.img_attn.norm.query_norm.scale") from None
    if params.in_channels != IN_CHANNELS:
        raise TrainerError(
            f"{path} is a FLUX transformer for {params.in_channels} input channels instead of {IN_CHANNELS}, such as Fill, Depth or Canny; "
            "choose dev or schnell.",
            reason_code=ReasonCode.BAD_MODEL,
        )
    return file, params


def _is_of_transformer(name: str) -> bool:
    """Return True if a tensor belongs to the transformer; a piece of it may be missing, which is named when it is read."""
    return name.startswith(("img_in.", "txt_in.", "vector_in.", "guidance_in.", "double_blocks.", "single_blocks."))


def empty_flux(params: FluxParams) -> Flux:
    """Return a transformer without weights, on the meta device."""
    with torch.device("meta"):
        return Flux(params)


def load_flux(
    path: str,
    *,
    dtype: torch.dtype | None,
    device: torch.device | str | Callable[[str], torch.device],
    prepare: Prepare | None = None,
    mapped: bool = True,
) -> Flux:
    """Load a FLUX transformer, tensor by tensor, with `dtype` (None keeps the file's) on `device`, which may be a function of the name.

    `prepare` gets the empty model before it is filled and returns how some of its tensors are stored; see quantization.py.

    Raises:
        TrainerError (bad_model): If a file is missing, truncated, or not a FLUX transformer, naming what is wrong.
    """
    file, params = open_flux(path, mapped=mapped)
    model = empty_flux(params)
    store_tensor = prepare(model) if prepare else None
    file.load_into(model, dtype=dtype, device=device, store_tensor=store_tensor)
    return model.eval().requires_grad_(False)


class ClipTextEncoder(nn.Module):
    """CLIP's text encoder under the names of ComfyUI's file, `text_model.…`, which LoRA keys repeat."""

    def __init__(self, config: CLIPTextConfig) -> None:
        super().__init__()
        self.text_model = CLIPTextModel(config)

    def forward(self, ids_BL: Tensor) -> Tensor:
        """(B, 77) token ids -> (B, V) pooled output at the end-of-text token."""
        pooled: Tensor = self.text_model(input_ids=ids_BL).pooler_output
        return pooled


def open_clip_l(path: str, *, mapped: bool = True) -> tuple[ModelFiles, ClipTextEncoder]:
    """Read CLIP-L's headers only: the open files, and the model without weights on the meta device.

    Raises:
        TrainerError: As load_clip_l does.
    """
    file = ModelFiles(path, "the CLIP-L text encoder", folders=("text_encoder",), prefixes=FILE_PREFIXES[CLIP_PREFIX], mapped=mapped)
    file.translate(clip_recipes(file.stored_names()))
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
        raise file.wrong_model_error("a CLIP text encoder", error.args[0]) from None
    with init_empty_weights(include_buffers=False):
        return file, ClipTextEncoder(config)


def load_clip_l(path: str, *, dtype: torch.dtype | None, device: torch.device | str, mapped: bool = True) -> ClipTextEncoder:
    """Load CLIP-L.

    Raises:
        TrainerError (bad_model): If it is missing, damaged, or another model.
    """
    file, model = open_clip_l(path, mapped=mapped)
    file.load_into(model, dtype=dtype, device=device)
    return model.to(device).eval().requires_grad_(False)


def open_t5(path: str, *, mapped: bool = True) -> tuple[ModelFiles, T5EncoderModel]:
    """Read T5's headers only: the open files, and the model without weights on the meta device.

    Raises:
        TrainerError: As load_t5 does.
    """
    file = ModelFiles(path, "the T5 text encoder", folders=("text_encoder_2",), prefixes=FILE_PREFIXES[T5_PREFIX], mapped=mapped)
    if "shared.weight" not in file.names and "encoder.embed_tokens.weight" in file.names:
        file.translate(
            {"shared.weight": TensorRecipe(("encoder.embed_tokens.weight",))}
        )  # two names of one tensor, of which a file has either
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
        raise file.wrong_model_error("a T5 text encoder", error.args[0]) from None
    with init_empty_weights(include_buffers=False):
        return file, T5EncoderModel(config)


def load_t5(path: str, *, dtype: torch.dtype | None, store: TensorStore, mapped: bool = True) -> T5EncoderModel:
    """Load a T5 v1.1 encoder in any precision; its tensors are kept where `store` decides.

    Raises:
        TrainerError: If it is missing, damaged, or another model (bad_model).
    """
    file, model = open_t5(path, mapped=mapped)
    store_tensor = store.prepare(model, list(model.encoder.block))
    file.load_into(model, dtype=dtype, device=store.device_of, ignore=("encoder.embed_tokens.weight",), store_tensor=store_tensor)
    model.encoder.embed_tokens = model.shared
    store.finish(model, list(model.encoder.block))
    frozen: T5EncoderModel = model.eval().requires_grad_(False)
    return frozen


def _count(file: ModelFiles, pattern: str) -> int:
    return 1 + max((int(match[1]) for name in file.names if (match := re.match(pattern, name))), default=-1)

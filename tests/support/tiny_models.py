"""A FLUX stack of random weights, a few hundred kilobytes, in the file formats of users; for tests that need a model but no useful images."""

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn
from transformers import CLIPTextConfig, T5Config, T5EncoderModel

from library.models.flux1.math import image_ids, text_ids
from library.models.flux1.text_encoders import ClipTextEncoder
from library.models.flux1.transformer import Flux, FluxParams
from library.models.flux1.vae import VAE, VAEParams
from pocket.vocabulary import build_clip, build_t5

PARAMS = FluxParams(
    in_channels=64,
    context_dim=32,
    vec_dim=64,
    hidden_size=64,
    num_heads=2,
    mlp_dim=128,
    depth=1,
    depth_single_blocks=2,
    guidance_embed=True,
)
NAMES = {"flux": "flux.safetensors", "ae": "ae.safetensors", "clip_l": "clip_l.safetensors", "t5xxl": "t5xxl.safetensors"}


def make_flux(params: FluxParams = PARAMS, seed: int = 0) -> Flux:
    """Return a transformer with no zero-initialized layer, which could hide an error."""
    torch.manual_seed(seed)
    return Flux(params).eval().requires_grad_(False)


def make_clip() -> ClipTextEncoder:
    """Return a CLIP-L of one layer."""
    return ClipTextEncoder(
        CLIPTextConfig(
            vocab_size=896, hidden_size=64, intermediate_size=64, num_hidden_layers=1, num_attention_heads=1, bos_token_id=0, eos_token_id=2
        )
    )


def make_t5() -> T5EncoderModel:
    """Return a T5 encoder of one layer."""
    return T5EncoderModel(
        T5Config(
            vocab_size=700,
            d_model=32,
            d_kv=16,
            d_ff=32,
            num_layers=1,
            num_heads=2,
            feed_forward_proj="gated-gelu",
            is_encoder_decoder=False,
        )
    )


def write_tiny_models(folder: Path) -> Path:
    """Write flux, ae, clip_l, t5xxl and both tokenizers into a folder with the layout of models/pocket."""
    folder.mkdir(parents=True, exist_ok=True)
    build_clip(folder / "tokenizer_clip")
    build_t5(folder / "tokenizer_t5")
    torch.manual_seed(1)
    clip, t5 = make_clip(), make_t5()
    ae = VAE(VAEParams(channels=(8, 8, 16, 16), num_res_blocks=1, z_channels=16))
    for name, model in {"flux": make_flux(), "ae": ae, "clip_l": clip, "t5xxl": t5}.items():
        save(model, folder / NAMES[name])
    return folder


def save(model: nn.Module, path: Path) -> None:
    """Write a module's state without T5's second name for its embedding, as in ComfyUI's file."""
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items() if name != "encoder.embed_tokens.weight"}
    save_file(state, path)


def model_flags(folder: Path) -> list[str]:
    """Return the trainer's flags for the four files of a folder."""
    return [
        "--pretrained_model_name_or_path", str(folder / NAMES["flux"]), "--ae", str(folder / NAMES["ae"]),
        "--clip_l", str(folder / NAMES["clip_l"]), "--t5xxl", str(folder / NAMES["t5xxl"]),
    ]  # fmt: skip


def flux_inputs(params: FluxParams, *, tokens: int = 6, length: int = 5) -> dict[str, torch.Tensor]:
    """Return the same random inputs of a transformer's forward on every call: two samples of `tokens` image and `length` text tokens."""
    random = torch.Generator().manual_seed(7)
    height, width = 4, tokens
    return {
        "img": torch.randn(2, (height // 2) * (width // 2), params.in_channels, generator=random),
        "img_ids": image_ids(2, height, width),
        "txt": torch.randn(2, length, params.context_dim, generator=random),
        "txt_ids": text_ids(2, length),
        "timesteps": torch.tensor([0.3, 0.8]),
        "y": torch.randn(2, params.vec_dim, generator=random),
        "guidance": torch.tensor([1.0, 3.5]),
    }

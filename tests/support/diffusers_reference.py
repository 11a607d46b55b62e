"""The same weights in diffusers' classes: the independent reference for our FLUX transformer and VAE."""

import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderKL, FluxTransformer2DModel
from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint
from torch import Tensor

from library.models.flux1.math import image_ids, text_ids
from library.models.flux1.transformer import Flux, FluxParams
from library.models.flux1.vae import VAE, VAEParams

FLUX_SIZES = {
    "in_channels": 64,
    "context_dim": 48,
    "vec_dim": 32,
    "hidden_size": 128,
    "num_heads": 2,
    "mlp_dim": 512,
    "depth": 2,
    "depth_single_blocks": 3,
}
VAE_PARAMS = VAEParams(channels=(8, 16, 24, 32), num_res_blocks=2, z_channels=16)
EMBEDDERS = {
    "time_in": "time_text_embed.timestep_embedder",
    "vector_in": "time_text_embed.text_embedder",
    "guidance_in": "time_text_embed.guidance_embedder",
}
DOUBLE = {
    "img_mod.lin": "norm1.linear",
    "txt_mod.lin": "norm1_context.linear",
    "img_attn.proj": "attn.to_out.0",
    "txt_attn.proj": "attn.to_add_out",
    "img_mlp.0": "ff.net.0.proj",
    "img_mlp.2": "ff.net.2",
    "txt_mlp.0": "ff_context.net.0.proj",
    "txt_mlp.2": "ff_context.net.2",
    "img_attn.norm.query_norm": "attn.norm_q",
    "img_attn.norm.key_norm": "attn.norm_k",
    "txt_attn.norm.query_norm": "attn.norm_added_q",
    "txt_attn.norm.key_norm": "attn.norm_added_k",
}
SINGLE = {"modulation.lin": "norm.linear", "linear2": "proj_out", "norm.query_norm": "attn.norm_q", "norm.key_norm": "attn.norm_k"}
SPLITS = {"img_attn.qkv": ("to_q", "to_k", "to_v"), "txt_attn.qkv": ("add_q_proj", "add_k_proj", "add_v_proj")}


def flux_in_diffusers(state: dict[str, Tensor], params: FluxParams) -> FluxTransformer2DModel:
    """Return diffusers' transformer with the weights of a BFL-key state dict."""
    with init_empty_weights(include_buffers=False):
        model = _empty(params)
    renamed = {name: value for key, tensor in state.items() for name, value in _renamed(key, tensor, params)}
    model.load_state_dict(renamed, assign=True)
    return model.eval()


def _empty(params: FluxParams) -> FluxTransformer2DModel:
    return FluxTransformer2DModel(
        in_channels=params.in_channels,
        num_layers=params.depth,
        num_single_layers=params.depth_single_blocks,
        attention_head_dim=params.head_dim,
        num_attention_heads=params.num_heads,
        joint_attention_dim=params.context_dim,
        pooled_projection_dim=params.vec_dim,
        guidance_embeds=params.guidance_embed,
        axes_dims_rope=params.axes_dim,
    )


def _renamed(key: str, tensor: Tensor, params: FluxParams) -> list[tuple[str, Tensor]]:
    owner, leaf = key.rsplit(".", 1)
    leaf = "weight" if leaf == "scale" else leaf
    parts = owner.split(".", 2)
    if parts[0] in EMBEDDERS:
        layer = {"in_layer": "linear_1", "out_layer": "linear_2"}[parts[1]]
        return [(f"{EMBEDDERS[parts[0]]}.{layer}.{leaf}", tensor)]
    if parts[0] == "double_blocks":
        block, name = f"transformer_blocks.{parts[1]}", parts[2]
        if name in SPLITS:
            return [(f"{block}.attn.{to}.{leaf}", piece) for to, piece in zip(SPLITS[name], tensor.chunk(3), strict=True)]
        return [(f"{block}.{DOUBLE[name]}.{leaf}", tensor)]
    if parts[0] == "single_blocks":
        block, name = f"single_transformer_blocks.{parts[1]}", parts[2]
        if name == "linear1":
            width = params.hidden_size
            pieces = tensor.split([width, width, width, params.mlp_dim])
            return [
                (f"{block}.{to}.{leaf}", piece)
                for to, piece in zip(("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"), pieces, strict=True)
            ]
        return [(f"{block}.{SINGLE[name]}.{leaf}", tensor)]
    if owner == "final_layer.adaLN_modulation.1":
        shift, scale = tensor.chunk(2)
        return [(f"norm_out.linear.{leaf}", torch.cat([scale, shift]))]
    return [({"img_in": "x_embedder", "txt_in": "context_embedder", "final_layer.linear": "proj_out"}[owner] + f".{leaf}", tensor)]


def vae_in_diffusers(state: dict[str, Tensor], params: VAEParams) -> AutoencoderKL:
    """Return diffusers' VAE with the weights of a BFL-key state dict."""
    levels = len(params.channels)
    model = AutoencoderKL(
        block_out_channels=params.channels,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        layers_per_block=params.num_res_blocks,
        latent_channels=params.z_channels,
        norm_num_groups=params.num_groups,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )
    model.load_state_dict(convert_ldm_vae_checkpoint(dict(state), model.config))
    return model.eval()


def random_flux(*, guidance_embed: bool) -> Flux:
    """Return a transformer in which no scale is one and no bias is zero, where an error could hide."""
    torch.manual_seed(0)
    flux = Flux(FluxParams(**FLUX_SIZES, guidance_embed=guidance_embed)).eval()
    for parameter in flux.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    return flux.requires_grad_(False)


def random_inputs(flux: Flux, batch: int = 2, height: int = 6, width: int = 10, length: int = 7) -> dict[str, torch.Tensor]:
    """Return random inputs of a transformer's forward."""
    random = torch.Generator().manual_seed(1)
    tokens = height * width // 4
    return {
        "img": torch.randn(batch, tokens, flux.params.in_channels, generator=random),
        "img_ids": image_ids(batch, height, width),
        "txt": torch.randn(batch, length, flux.params.context_dim, generator=random),
        "txt_ids": text_ids(batch, length),
        "timesteps": torch.rand(batch, generator=random),
        "y": torch.randn(batch, flux.params.vec_dim, generator=random),
        "guidance": torch.tensor([1.0, 3.5]) if flux.params.guidance_embed else None,
    }


def run_in_diffusers(flux: Flux, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return the output of diffusers' transformer with the same weights and inputs."""
    reference = flux_in_diffusers(flux.state_dict(), flux.params)
    return reference(
        hidden_states=inputs["img"],
        encoder_hidden_states=inputs["txt"],
        pooled_projections=inputs["y"],
        timestep=inputs["timesteps"],
        img_ids=inputs["img_ids"][0],
        txt_ids=inputs["txt_ids"][0],
        guidance=inputs["guidance"],
    ).sample


def random_vae() -> VAE:
    """Return a small VAE with random weights."""
    torch.manual_seed(0)
    vae = VAE(VAE_PARAMS).eval().requires_grad_(False)
    for parameter in vae.parameters():
        parameter += 0.05 * torch.randn_like(parameter)
    return vae

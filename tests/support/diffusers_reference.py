"""The same weights in diffusers' classes: the independent reference for our FLUX transformer and autoencoder."""

import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderKL, FluxTransformer2DModel
from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint
from torch import Tensor

from library.models.flux1.transformer import FluxParams
from library.models.flux1.vae import VAEParams

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


def autoencoder_in_diffusers(state: dict[str, Tensor], params: VAEParams) -> AutoencoderKL:
    """Return diffusers' autoencoder with the weights of a BFL-key state dict."""
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

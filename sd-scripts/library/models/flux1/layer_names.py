"""FLUX.1's layer names: BFL's, which this trainer uses, diffusers', and kohya's LoRA modules; and the VAE's and CLIP's other names.

diffusers has queries, keys and values in separate layers where BFL has one, and the last layer's scale before its shift.
"""

import re
from collections.abc import Iterable

from library.models.layer_names import Layer, LayerNames, Stack, TextLayers
from library.weights.model_files import TensorRecipe

FLUX_PREFIX, CLIP_PREFIX, T5_PREFIX = "lora_unet", "lora_te1", "lora_te3"  # kohya's
# What other programs put in front of the names in a file that holds more than one model.
FILE_PREFIXES = {
    FLUX_PREFIX: ("model.diffusion_model.", "diffusion_model.", "transformer."),
    CLIP_PREFIX: ("text_encoders.clip_l.transformer.", "text_encoders.clip_l.", "clip_l.transformer.", "cond_stage_model.transformer."),
    T5_PREFIX: ("text_encoders.t5xxl.transformer.", "text_encoders.t5xxl.", "t5xxl.transformer."),
}
LORA_PREFIXES = ("lora_transformer", "lycoris", "unet")  # OneTrainer's, SimpleTuner's, and an older one of diffusers
QKV = (1, 1, 1)

OUTSIDE_BLOCKS = Stack(
    name="",
    diffusers="",
    layers=(
        Layer(name="img_in", parts=("x_embedder",)),
        Layer(name="txt_in", parts=("context_embedder",)),
        Layer(name="time_in.in_layer", parts=("time_text_embed.timestep_embedder.linear_1",)),
        Layer(name="time_in.out_layer", parts=("time_text_embed.timestep_embedder.linear_2",)),
        Layer(name="vector_in.in_layer", parts=("time_text_embed.text_embedder.linear_1",)),
        Layer(name="vector_in.out_layer", parts=("time_text_embed.text_embedder.linear_2",)),
        Layer(name="guidance_in.in_layer", parts=("time_text_embed.guidance_embedder.linear_1",)),
        Layer(name="guidance_in.out_layer", parts=("time_text_embed.guidance_embedder.linear_2",)),
        Layer(name="final_layer.linear", parts=("proj_out",)),
        Layer(name="final_layer.adaLN_modulation.1", parts=("norm_out.linear",), swap_halves=True),
    ),
)
DOUBLE_BLOCKS = Stack(
    name="double_blocks",
    diffusers="transformer_blocks",
    layers=(
        Layer(name="img_mod.lin", parts=("norm1.linear",)),
        Layer(name="img_attn.qkv", parts=("attn.to_q", "attn.to_k", "attn.to_v"), multiples=QKV),
        Layer(name="img_attn.proj", parts=("attn.to_out.0",)),
        Layer(name="img_attn.norm.query_norm", parts=("attn.norm_q",), is_norm=True),
        Layer(name="img_attn.norm.key_norm", parts=("attn.norm_k",), is_norm=True),
        Layer(name="img_mlp.0", parts=("ff.net.0.proj",)),
        Layer(name="img_mlp.2", parts=("ff.net.2",)),
        Layer(name="txt_mod.lin", parts=("norm1_context.linear",)),
        Layer(name="txt_attn.qkv", parts=("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"), multiples=QKV),
        Layer(name="txt_attn.proj", parts=("attn.to_add_out",)),
        Layer(name="txt_attn.norm.query_norm", parts=("attn.norm_added_q",), is_norm=True),
        Layer(name="txt_attn.norm.key_norm", parts=("attn.norm_added_k",), is_norm=True),
        Layer(name="txt_mlp.0", parts=("ff_context.net.0.proj",)),
        Layer(name="txt_mlp.2", parts=("ff_context.net.2",)),
    ),
)
SINGLE_BLOCKS = Stack(
    name="single_blocks",
    diffusers="single_transformer_blocks",
    layers=(
        Layer(name="modulation.lin", parts=("norm.linear",)),
        Layer(name="linear1", parts=("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"), multiples=(*QKV, 4)),
        Layer(name="linear2", parts=("proj_out",)),
        Layer(name="norm.query_norm", parts=("attn.norm_q",), is_norm=True),
        Layer(name="norm.key_norm", parts=("attn.norm_k",), is_norm=True),
    ),
)
LAYER_NAMES = LayerNames(
    prefix=FLUX_PREFIX,
    stacks=(OUTSIDE_BLOCKS, DOUBLE_BLOCKS, SINGLE_BLOCKS),
    text=(
        TextLayers(
            prefix=CLIP_PREFIX,
            diffusers="text_encoder",
            path="text_model.encoder.layers.{}.{}.{}",
            fields=(r"\d+", "self_attn|mlp", "[qkv]_proj|out_proj|fc1|fc2"),
            aliases=FILE_PREFIXES[CLIP_PREFIX],
        ),
        TextLayers(
            prefix=T5_PREFIX,
            diffusers="text_encoder_2",
            path="encoder.block.{}.layer.{}.{}.{}",
            fields=(r"\d+", "[01]", "SelfAttention|DenseReluDense", "[qkvo]|wi_0|wi_1|wo"),
            aliases=("lora_te2", *FILE_PREFIXES[T5_PREFIX]),
        ),
    ),
    mark="x_embedder.weight",
    aliases=(*FILE_PREFIXES[FLUX_PREFIX], *LORA_PREFIXES),
)

# From diffusers' VAE to BFL's, applied one after another.
VAE_RENAMES = (
    (r"\.down_blocks\.(\d+)\.", r".down.\1."),
    (r"\.resnets\.(\d+)\.", r".block.\1."),
    (r"\.(down|up)samplers\.0\.", r".\1sample."),
    (r"\.conv_shortcut\.", ".nin_shortcut."),
    (r"\.mid_block\.block\.0\.", ".mid.block_1."),
    (r"\.mid_block\.block\.1\.", ".mid.block_2."),
    (r"\.mid_block\.attentions\.0\.", ".mid.attn_1."),
    (r"\.attn_1\.group_norm\.", ".attn_1.norm."),
    (r"\.attn_1\.(to_out\.0|proj_attn)\.", ".attn_1.proj_out."),
    (r"\.attn_1\.(?:to_q|query)\.", ".attn_1.q."),
    (r"\.attn_1\.(?:to_k|key)\.", ".attn_1.k."),
    (r"\.attn_1\.(?:to_v|value)\.", ".attn_1.v."),
    (r"\.conv_norm_out\.", ".norm_out."),
)

# From OpenAI's CLIP to transformers'.
OPENAI_OUTER = {
    "embeddings.token_embedding.weight": "token_embedding.weight",
    "embeddings.position_embedding.weight": "positional_embedding",
    "final_layer_norm.weight": "ln_final.weight",
    "final_layer_norm.bias": "ln_final.bias",
}
OPENAI_LAYER = {
    "layer_norm1": "ln_1", "layer_norm2": "ln_2", "self_attn.out_proj": "attn.out_proj", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj",
}  # fmt: skip


def vae_recipes(names: Iterable[str]) -> dict[str, TensorRecipe]:
    """Return how BFL's VAE tensors are made of diffusers'; empty if these are not diffusers' names of a VAE."""
    names = list(names)
    levels = [int(match[1]) for name in names if (match := re.match(r"decoder\.up_blocks\.(\d+)\.", name))]
    if not levels:
        return {}
    return {_vae_name(name, max(levels)): TensorRecipe((name,), as_conv=".attentions.0." in name) for name in names}


def _vae_name(name: str, last_level: int) -> str:
    name = re.sub(r"\.up_blocks\.(\d+)\.", lambda match: f".up.{last_level - int(match[1])}.", name)  # BFL counts from the finest
    for pattern, replacement in VAE_RENAMES:
        name = re.sub(pattern, replacement, name)
    return name


def clip_recipes(names: Iterable[str]) -> dict[str, TensorRecipe]:
    """Return how ComfyUI's CLIP tensors are made of transformers' (without `text_model.`) or OpenAI's; empty for ComfyUI's names."""
    names = set(names)
    if "embeddings.token_embedding.weight" in names:
        return {f"text_model.{name}": TensorRecipe((name,)) for name in names}
    if "positional_embedding" not in names:
        return {}
    recipes = {own: TensorRecipe((theirs,)) for own, theirs in OPENAI_OUTER.items()}
    found = (re.match(r"transformer\.resblocks\.(\d+)\.", name) for name in names)
    for index in {match[1] for match in found if match}:
        recipes |= _openai_layer(f"encoder.layers.{index}.", f"transformer.resblocks.{index}.")
    return {f"text_model.{name}": recipe for name, recipe in recipes.items()}


def _openai_layer(own: str, theirs: str) -> dict[str, TensorRecipe]:
    recipes: dict[str, TensorRecipe] = {}
    for leaf in ("weight", "bias"):
        recipes |= {f"{own}{name}.{leaf}": TensorRecipe((f"{theirs}{other}.{leaf}",)) for name, other in OPENAI_LAYER.items()}
        for index, letter in enumerate("qkv"):
            recipes[f"{own}self_attn.{letter}_proj.{leaf}"] = TensorRecipe((f"{theirs}attn.in_proj_{leaf}",), qkv_index=index)
    return recipes

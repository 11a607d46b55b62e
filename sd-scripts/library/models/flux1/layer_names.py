"""diffusers' names for FLUX's transformer and autoencoder, as pieces that BFL's tensors are put together from.

diffusers keeps queries, keys and values apart where BFL has one tensor, and has the last layer's scale before its shift.
"""

import re
from collections.abc import Container, Iterable, Mapping

from library.weights.model_files import TensorRecipe

OUTER = {
    "img_in": ("x_embedder",),
    "txt_in": ("context_embedder",),
    "time_in.in_layer": ("time_text_embed.timestep_embedder.linear_1",),
    "time_in.out_layer": ("time_text_embed.timestep_embedder.linear_2",),
    "vector_in.in_layer": ("time_text_embed.text_embedder.linear_1",),
    "vector_in.out_layer": ("time_text_embed.text_embedder.linear_2",),
    "guidance_in.in_layer": ("time_text_embed.guidance_embedder.linear_1",),
    "guidance_in.out_layer": ("time_text_embed.guidance_embedder.linear_2",),
    "final_layer.linear": ("proj_out",),
    "final_layer.adaLN_modulation.1": ("norm_out.linear",),
}
DOUBLE = {
    "img_mod.lin": ("norm1.linear",),
    "img_attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "img_attn.proj": ("attn.to_out.0",),
    "img_attn.norm.query_norm": ("attn.norm_q",),
    "img_attn.norm.key_norm": ("attn.norm_k",),
    "img_mlp.0": ("ff.net.0.proj",),
    "img_mlp.2": ("ff.net.2",),
    "txt_mod.lin": ("norm1_context.linear",),
    "txt_attn.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    "txt_attn.proj": ("attn.to_add_out",),
    "txt_attn.norm.query_norm": ("attn.norm_added_q",),
    "txt_attn.norm.key_norm": ("attn.norm_added_k",),
    "txt_mlp.0": ("ff_context.net.0.proj",),
    "txt_mlp.2": ("ff_context.net.2",),
}
SINGLE = {
    "modulation.lin": ("norm.linear",),
    "linear1": ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"),
    "linear2": ("proj_out",),
    "norm.query_norm": ("attn.norm_q",),
    "norm.key_norm": ("attn.norm_k",),
}
STACKS = (("double_blocks", "transformer_blocks", DOUBLE), ("single_blocks", "single_transformer_blocks", SINGLE))
MARK = "x_embedder.weight"

# From diffusers' autoencoder to BFL's, applied one after another.
AUTOENCODER = (
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


def flux_pieces(names: Iterable[str]) -> dict[str, TensorRecipe]:
    """Return BFL's tensors as pieces of diffusers'; empty when these are not diffusers' names of a FLUX transformer."""
    names = set(names)
    if MARK not in names:
        return {}
    pieces = _pieces("", "", OUTER, names)
    for ours, theirs, table in STACKS:
        found = (re.match(rf"{theirs}\.(\d+)\.", name) for name in names)
        for index in {match[1] for match in found if match}:
            pieces |= _pieces(f"{ours}.{index}.", f"{theirs}.{index}.", table, names)
    return pieces


def _pieces(ours: str, theirs: str, table: Mapping[str, tuple[str, ...]], names: Container[str]) -> dict[str, TensorRecipe]:
    pieces = {}
    for module, sources in table.items():
        for leaf in ("weight", "bias"):
            parts = tuple(f"{theirs}{source}.{leaf}" for source in sources)
            if any(part in names for part in parts):  # a missing part is named when the tensor is read
                own = "scale" if module.endswith("_norm") else leaf
                pieces[f"{ours}{module}.{own}"] = TensorRecipe(parts, swap_halves=module.startswith("final_layer.adaLN"))
    return pieces


def autoencoder_pieces(names: Iterable[str]) -> dict[str, TensorRecipe]:
    """Return BFL's tensors as pieces of diffusers'; empty when these are not diffusers' names of an autoencoder."""
    names = list(names)
    ups = [int(match[1]) for name in names if (match := re.match(r"decoder\.up_blocks\.(\d+)\.", name))]
    if not ups:
        return {}
    return {_autoencoder_name(name, max(ups)): TensorRecipe((name,), as_conv=".attentions.0." in name) for name in names}


def _autoencoder_name(name: str, last_level: int) -> str:
    name = re.sub(r"\.up_blocks\.(\d+)\.", lambda match: f".up.{last_level - int(match[1])}.", name)  # BFL counts from the finest
    for pattern, replacement in AUTOENCODER:
        name = re.sub(pattern, replacement, name)
    return name

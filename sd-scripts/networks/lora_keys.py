"""A FLUX LoRA's two kinds of names: kohya's (BFL's layers, `lora_unet_…`) and diffusers' (PEFT's `transformer.….lora_A.weight`).

FLUX keeps queries, keys and values in one matrix, diffusers in three. One LoRA over the whole becomes three that share its down; a LoRA made
of blocks becomes its blocks. Both ways back give the very same tensors. Scales are kept as alpha, never multiplied into the weights; where
every alpha is its rank, diffusers' form leaves them out, as PEFT does.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from fluxgym.contract.codes import ReasonCode
from library.errors import TrainerError
from networks.low_rank import fuse, split

DOUBLE = {
    "img_attn_qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "txt_attn_qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    "img_attn_proj": ("attn.to_out.0",),
    "txt_attn_proj": ("attn.to_add_out",),
    "img_mlp_0": ("ff.net.0.proj",),
    "img_mlp_2": ("ff.net.2",),
    "txt_mlp_0": ("ff_context.net.0.proj",),
    "txt_mlp_2": ("ff_context.net.2",),
    "img_mod_lin": ("norm1.linear",),
    "txt_mod_lin": ("norm1_context.linear",),
}
SINGLE = {
    "linear1": ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"),
    "linear2": ("proj_out",),
    "modulation_lin": ("norm.linear",),
}
OUTSIDE = {
    "img_in": "x_embedder",
    "txt_in": "context_embedder",
    "time_in_in_layer": "time_text_embed.timestep_embedder.linear_1",
    "time_in_out_layer": "time_text_embed.timestep_embedder.linear_2",
    "vector_in_in_layer": "time_text_embed.text_embedder.linear_1",
    "vector_in_out_layer": "time_text_embed.text_embedder.linear_2",
    "guidance_in_in_layer": "time_text_embed.guidance_embedder.linear_1",
    "guidance_in_out_layer": "time_text_embed.guidance_embedder.linear_2",
    "final_layer_linear": "proj_out",
    "final_layer_adaLN_modulation_1": "norm_out.linear",
}
HALVES_SWAPPED = "lora_unet_final_layer_adaLN_modulation_1"  # BFL has shift before scale, diffusers scale before shift
CLIP = re.compile(r"lora_te1_text_model_encoder_layers_(\d+)_(self_attn|mlp)_(\w+)")
T5 = re.compile(r"lora_te3_encoder_block_(\d+)_layer_([01])_(SelfAttention|DenseReluDense)_(\w+)")
LEAVES = {"lora_down.weight": "lora_A.weight", "lora_up.weight": "lora_B.weight", "alpha": "alpha"}

Module = dict[str, Tensor]  # kohya's leaves: lora_down.weight, lora_up.weight, and alpha if there is one


def is_diffusers(names: object) -> bool:
    """Return True if tensor names are diffusers' (PEFT's)."""
    return any(".lora_A." in name for name in names)


def to_diffusers(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename kohya's tensors for diffusers, ComfyUI and all that reads PEFT's keys; raises TrainerError for a name that has no place there."""
    modules: dict[str, Module] = {}
    for name, module in by_module(tensors).items():
        modules |= _split_module(name, module)
    if all(_alpha(module) == _rank(module) for module in modules.values()):
        modules = {name: {leaf: tensor for leaf, tensor in module.items() if leaf != "alpha"} for name, module in modules.items()}
    return {f"{name}.{LEAVES[leaf]}": tensor.contiguous() for name, module in modules.items() for leaf, tensor in module.items()}


def to_kohya(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename diffusers' tensors to kohya's; raises TrainerError for a name that has no place there."""
    leaves = {theirs: ours for ours, theirs in LEAVES.items()}
    parts: dict[str, dict[int, Module]] = {}
    for key, tensor in tensors.items():
        owner, leaf = _cut(key.replace(".default.", "."), leaves)
        name, part = _kohya_place(owner.removeprefix("transformer."), key)
        parts.setdefault(name, {}).setdefault(part, {})[leaves[leaf]] = tensor
    together = {name: _join_modules(name, found) for name, found in parts.items()}
    return {f"{name}.{leaf}": tensor.contiguous() for name, module in together.items() for leaf, tensor in module.items()}


def by_module(tensors: Mapping[str, Tensor]) -> dict[str, Module]:
    """Group kohya's tensors by module; raises TrainerError for a key that is no LoRA's, or a module that lacks a factor."""
    modules: dict[str, Module] = {}
    for key, tensor in tensors.items():
        owner, leaf = _cut(key, LEAVES)
        modules.setdefault(owner, {})[leaf] = tensor
    for name, module in modules.items():
        if missing := {"lora_down.weight", "lora_up.weight"} - set(module):
            raise TrainerError(f"the LoRA is not whole: {name} lacks its {min(missing)}.", reason_code=ReasonCode.BAD_MODEL)
        down, up, alpha = module["lora_down.weight"], module["lora_up.weight"], module.get("alpha")
        if down.dim() != 2 or up.dim() != 2 or up.shape[1] != down.shape[0] or (alpha is not None and alpha.numel() != 1):
            raise TrainerError(f"the LoRA is damaged: the shapes of {name} do not fit each other.", reason_code=ReasonCode.BAD_MODEL)
    return modules


def _cut(key: str, leaves: Mapping[str, str]) -> tuple[str, str]:
    for leaf in leaves:
        if key.endswith(f".{leaf}"):
            return key.removesuffix(f".{leaf}"), leaf
    raise TrainerError(
        f"the tensor {key} is no part of a LoRA; other kinds of networks (LyCORIS) cannot be changed here.",
        reason_code=ReasonCode.BAD_MODEL,
    )


def diffusers_names(name: str) -> tuple[str, ...]:
    """Return diffusers' module names for kohya's, one for each projection that the matrix holds; empty for a name that FLUX has not."""
    if match := re.fullmatch(r"lora_unet_(double|single)_blocks_(\d+)_(\w+)", name):
        kind, place, layer = match.groups()
        table, blocks = (DOUBLE, "transformer_blocks") if kind == "double" else (SINGLE, "single_transformer_blocks")
        return tuple(f"transformer.{blocks}.{place}.{each}" for each in table.get(layer, ()))
    if match := CLIP.fullmatch(name):
        return (f"text_encoder.text_model.encoder.layers.{match[1]}.{match[2]}.{match[3]}",)
    if match := T5.fullmatch(name):
        return (f"text_encoder_2.encoder.block.{match[1]}.layer.{match[2]}.{match[3]}.{match[4]}",)
    outside = OUTSIDE.get(name.removeprefix("lora_unet_"))
    return (f"transformer.{outside}",) if outside else ()


def _kohya_place(owner: str, key: str) -> tuple[str, int]:
    """Return kohya's module name and which part of it a diffusers module (without `transformer.`) is."""
    if match := re.fullmatch(r"(transformer_blocks|single_transformer_blocks)\.(\d+)\.(.+)", owner):
        kind, table = ("double", DOUBLE) if match[1] == "transformer_blocks" else ("single", SINGLE)
        for layer, parts in table.items():
            if match[3] in parts:
                return f"lora_unet_{kind}_blocks_{match[2]}_{layer}", parts.index(match[3])
    for prefix, kohya in (("text_encoder.", "lora_te1_"), ("text_encoder_2.", "lora_te3_")):
        if owner.startswith(prefix):
            return kohya + owner.removeprefix(prefix).replace(".", "_"), 0
    for layer, name in OUTSIDE.items():
        if owner == name:
            return f"lora_unet_{layer}", 0
    raise TrainerError(f"the tensor {key} has no place in a FLUX LoRA of kohya's form.", reason_code=ReasonCode.BAD_MODEL)


def _split_module(name: str, module: Module) -> dict[str, Module]:
    """Return a kohya module as one or several diffusers modules."""
    names = diffusers_names(name)
    if not names:
        raise TrainerError(f"{name} has no place in a FLUX LoRA of diffusers' form.", reason_code=ReasonCode.BAD_MODEL)
    if len(names) == 1:
        return {names[0]: _swapped(name, module)}
    down, up, alpha = module["lora_down.weight"], module["lora_up.weight"], module.get("alpha")
    sizes = _sizes(down.shape[1], up.shape[0], len(names))
    try:
        pairs = split(down, up, sizes)
        alpha = None if alpha is None else _exactly(alpha.float() / len(names), alpha.dtype)
    except ValueError:
        pairs = [(down, rows) for rows in up.split(sizes)]
    return {
        each: {"lora_down.weight": each_down.clone(), "lora_up.weight": each_up, **({} if alpha is None else {"alpha": alpha.clone()})}
        for each, (each_down, each_up) in zip(names, pairs, strict=True)
    }


def _join_modules(name: str, parts: dict[int, Module]) -> Module:
    """Return the parts of one kohya module as that module; a part that is not there adds nothing."""
    for module in parts.values():
        by_module({f"{name}.{leaf}": tensor for leaf, tensor in module.items()})  # whole, or refused
    first = next(iter(parts.values()))
    num_parts = len(diffusers_names(name))
    if num_parts == 1:
        return _swapped(name, first | {"alpha": _exactly(torch.tensor(_alpha(first)), first["lora_down.weight"].dtype)})
    modules = [parts.get(place) or _nothing(place, num_parts, first) for place in range(num_parts)]
    pairs = [(module["lora_down.weight"], module["lora_up.weight"]) for module in modules]
    downs, alphas = [down for down, _ in pairs], [_alpha(module) for module in modules]
    if all(torch.equal(down, downs[0]) for down in downs) and len(set(alphas)) == 1:
        down, up, alpha = downs[0], torch.cat([up for _, up in pairs]), alphas[0]
    else:
        scales = [each / _rank(module) if _rank(module) else None for each, module in zip(alphas, modules, strict=True)]
        if len({scale for scale in scales if scale is not None}) > 1:  # one alpha cannot say it: it goes into the weights
            pairs = [(down, up * (scale or 1)) for (down, up), scale in zip(pairs, scales, strict=True)]
            alphas = [down.shape[0] for down, _ in pairs]
        (down, up), alpha = fuse(pairs), float(sum(alphas))
    return {"lora_down.weight": down, "lora_up.weight": up, "alpha": _exactly(torch.tensor(alpha), down.dtype)}


def _nothing(place: int, num_parts: int, like: Module) -> Module:
    """Return a part of rank 0; a feed-forward that is not there is four times as wide as the model."""
    width, dtype = like["lora_down.weight"].shape[1], like["lora_down.weight"].dtype
    rows = _sizes(width, 7 * width, num_parts)[place] if num_parts > 3 else width
    return {
        "lora_down.weight": torch.zeros(0, width, dtype=dtype),
        "lora_up.weight": torch.zeros(rows, 0, dtype=dtype),
        "alpha": torch.tensor(0.0),
    }


def _sizes(width: int, rows: int, num_parts: int) -> list[int]:
    """Return the rows of queries, keys, values and, in a single block, feed-forward."""
    return [width] * 3 + ([rows - 3 * width] if num_parts > 3 else [])


def _swapped(name: str, module: Module) -> Module:
    if name != HALVES_SWAPPED:
        return module
    return module | {"lora_up.weight": torch.cat(module["lora_up.weight"].chunk(2)[::-1])}


def _rank(module: Module) -> int:
    return module["lora_down.weight"].shape[0]


def _alpha(module: Module) -> float:
    return float(module["alpha"]) if "alpha" in module else float(_rank(module))


def _exactly(value: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a number in `dtype` if it loses nothing there, else in float32."""
    cast = value.to(dtype)
    return cast if cast.float() == value.float() else value.float()

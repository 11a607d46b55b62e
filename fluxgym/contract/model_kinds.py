"""Identification of model files: other file formats by their first bytes, models by their tensor names."""

import re
from collections.abc import Iterable

PICKLE_STARTS = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
HTML_STARTS = (b"<!doctype", b"<html", b"<?xml", b"<head")

# What PyTorch puts into the names of wrapped modules, anywhere in them, and what programs put in front of a whole model's names.
WRAPPERS = re.compile(r"(?:(?<=\.)|^)(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module|base_model\.model)\.")
CONTAINERS = re.compile(
    r"^(?:module\.|state_dict\.|model\.(?=(?:double|single|transformer|single_transformer)_blocks\.|[a-z_]+_(?:in|embedder|embed|out)\.|final_layer\.))+"
)

# Weights that another program has quantized, as (pattern of a tensor name, what they are).
QUANTIZED = (
    (r"\.quant_state\.bitsandbytes__nf4$", "4-bit weights (bitsandbytes NF4)"),
    (r"\.quant_state\.bitsandbytes__fp4$", "4-bit weights (bitsandbytes FP4)"),
    (r"\.absmax$", "4-bit weights (bitsandbytes)"),
    (r"\.(SCB|weight_format)$", "8-bit weights (bitsandbytes)"),
    (r"\.wscales$", "4-bit weights (SVDQuant of Nunchaku)"),
    (r"\.(qweight|qzeros)$", "4-bit weights (GPTQ or AWQ)"),
    (r"\.(weight\._data|weight_qtype|weight\._scale)$", "quantized weights (Quanto)"),
    (r"\.weight_scale_2$", "4-bit weights (NVFP4)"),
)

# Models that cannot be trained on, as (pattern of a tensor name, name of the model). The first match counts: the tensor names of
# a LoRA contain those of the model that it changes.
OTHER_MODELS = (
    (r"(lora_(up|down|A|B)|hada_w1_a|lokr_w1|oft_blocks|_lora\d?)\b|\.lora\.", "a LoRA"),
    (r"(controlnet_(x_embedder|blocks)|input_hint_block|control_model)\b", "a ControlNet"),
    (r"conditioner\.embedders\.|add_embedding\.linear_1|label_emb\.", "a Stable Diffusion XL model"),
    (r"cond_stage_model\.|down_blocks\.0\.attentions|input_blocks\.1\.1\.", "a Stable Diffusion 1 or 2 model"),
    (r"joint_blocks\.\d", "a Stable Diffusion 3 model"),
    (r"distilled_guidance_layer\.", "a Chroma transformer"),
    (r"double_stream_modulation_img\.", "a FLUX.2 transformer"),
)
# Parts of FLUX.1, as (role, pattern of a tensor name, name of the part). A whole checkpoint has several roles.
ROLES = (
    ("transformer", r"(^|\.)(double_blocks\.\d+\.img_attn|single_transformer_blocks\.\d+\.proj_mlp)", "a FLUX transformer"),
    ("t5xxl", r"SelfAttention\.(q|k|v)\b", "a T5 text encoder"),
    ("clip_l", r"(text_model\.embeddings|encoder\.layers\.\d+\.self_attn|transformer\.resblocks)", "a CLIP text encoder"),
    ("ae", r"(^|vae\.|first_stage_model\.)(encoder|decoder)\.(conv_in|down|up|down_blocks|up_blocks|mid_block|mid)\b", "a VAE"),
)
T5_LENGTHS = {"dev": 512, "schnell": 256}  # tokens per caption that each version of FLUX.1 was trained with


def other_format(head: bytes) -> str | None:
    """Return what a file that starts with `head` is instead of .safetensors, and what to do, to follow “is”; None if it may be one.

    512 bytes are enough.
    """
    if head.startswith(b"GGUF"):
        return "GGUF, which cannot be trained on; choose the same model as .safetensors, in bf16 or fp8"
    if head.startswith(PICKLE_STARTS):
        return "a pickled PyTorch file (.ckpt, .pt, .bin), which may run code when it is read; choose the .safetensors file"
    if head.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, not the model itself; run git lfs pull, or download the file from its page"
    if head[:64].lstrip().lower().startswith(HTML_STARTS):
        return "a web page that was saved instead of the model; download it again, logged in if its license asks for that"
    return None


def unwrapped(name: str) -> str:
    """Return a tensor's name without what compiled, distributed and PEFT's wrappers put into it, such as `_orig_mod.`."""
    return CONTAINERS.sub("", WRAPPERS.sub("", name))


def quantized_weights(names: Iterable[str]) -> str | None:
    """Return what the weights of these names are, such as “4-bit weights (bitsandbytes NF4)”, None if no other program has quantized them."""
    names = list(names)
    return next((words for pattern, words in QUANTIZED if any_matches(pattern, names)), None)


def other_model(names: Iterable[str]) -> str | None:
    """Return the name of the model that tensors of these names belong to if it cannot be trained on, else None."""
    names = list(names)
    return next((kind for pattern, kind in OTHER_MODELS if any_matches(pattern, names)), None)


def roles_of(names: Iterable[str]) -> frozenset[str]:
    """Return the parts of FLUX.1 that tensors of these names can fill."""
    names = [unwrapped(name) for name in names]
    return frozenset(role for role, pattern, _ in ROLES if any_matches(pattern, names))


def kind_of(names: Iterable[str]) -> str | None:
    """Return the name of the model that tensors of these names belong to, None if it is unknown."""
    names = [unwrapped(name) for name in names]
    parts = (kind for _, pattern, kind in ROLES if any_matches(pattern, names))
    return other_model(names) or next(parts, None)


def any_matches(pattern: str, names: Iterable[str]) -> bool:
    """Return True if a regular expression matches within any of the names."""
    search = re.compile(pattern).search
    return any(search(name) for name in names)

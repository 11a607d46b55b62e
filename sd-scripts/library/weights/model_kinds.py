"""What a model file is when it is not what was asked for: no .safetensors at all, or another kind of model, in words for one sentence.

Looks at first bytes and at tensors' names only. The page has the same knowledge in fluxgym/models/identify.py, for neither imports the other.
"""

import re
from collections.abc import Iterable

PICKLE_STARTS = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")

# The first pattern that a tensor's name matches tells the kind; LoRAs stand first, for their names contain those of what they change.
KINDS = (
    (r"(lora_(up|down|A|B)|hada_w1_a|lokr_w1|oft_blocks)\b|\.lora\.", "a LoRA"),
    (r"\.(absmax|quant_state\.bitsandbytes__nf4)$", "a model in bitsandbytes' 4 bits"),
    (r"\.qweight$", "a model in 4 bits of another program"),
    (r"(controlnet_(x_embedder|blocks)|input_hint_block|control_model)\b", "a ControlNet"),
    (r"conditioner\.embedders\.|add_embedding\.linear_1|label_emb\.", "a Stable Diffusion XL model"),
    (r"cond_stage_model\.|down_blocks\.0\.attentions|input_blocks\.1\.1\.", "a Stable Diffusion 1 or 2 model"),
    (r"joint_blocks\.\d", "a Stable Diffusion 3 model"),
    (r"distilled_guidance_layer\.", "a Chroma transformer"),
    (r"double_stream_modulation_img\.", "a FLUX.2 transformer"),
    (r"(^|\.)(double_blocks\.\d+\.img_attn|single_transformer_blocks\.\d+\.proj_mlp)", "a FLUX transformer"),
    (r"SelfAttention\.(q|k|v)\b", "a T5 text encoder"),
    (r"(text_model\.embeddings|encoder\.layers\.\d+\.self_attn|transformer\.resblocks)", "a CLIP text encoder"),
    (r"(encoder|decoder)\.(conv_in|down|up|down_blocks|up_blocks|mid_block|mid)\b", "an autoencoder"),
)  # fmt: skip


def why_no_safetensors(head: bytes, size: int) -> str | None:
    """Say what a file of `size` bytes that begins with `head` is instead of .safetensors, and the way out; None when it may be one."""
    if head.startswith(b"GGUF"):
        return "is a GGUF file, which cannot be trained on; choose the same model as .safetensors, in bf16 or fp8"
    if head.startswith(PICKLE_STARTS):
        return "is a pickled PyTorch file (.ckpt, .pt, .bin), which may run code when it is read; choose the .safetensors file"
    if head.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the model itself; run git lfs pull, or download the file from its page"
    start = head[:64].lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        return "is a web page that was saved in the model's place; download it again, logged in if its license asks for that"
    if size < 8 or b"\0" not in head[:8]:  # the first eight bytes are a length, and no header fills them all
        return "is damaged: it is cut short, or no .safetensors file. Download it again"
    return None


def kind_of(names: Iterable[str]) -> str | None:
    """Name the kind of model that tensors of these names belong to; None when none is known."""
    names = list(names)
    return next((kind for pattern, kind in KINDS if any(re.search(pattern, name) for name in names)), None)

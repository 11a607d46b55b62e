"""Identification, by tensor names, of files that are not plain LoRAs for FLUX."""

from collections.abc import Iterable

from fluxgym.contract.model_kinds import any_matches, kind_of, unwrapped

_LYCORIS = "; only --network_weights with --network_module lycoris.kohya reads it"
_CONVERT = "; convert it to kohya's or diffusers' names first"
_ONLY_FLUX = "; only LoRAs for FLUX.1 are read"

# (pattern of a tensor name, what such a file is, to follow “is”). The first match counts.
OTHER_ADAPTERS = (
    (r"\.processor\.(qkv|proj)_lora\d?\.", "an XLabs LoRA" + _CONVERT),
    (r"\.(lora_magnitude_vector|dora_scale)\b", "a DoRA, whose magnitudes a plain LoRA does not have"),
    (r"\.hada_w\d", "a LoHa of LyCORIS" + _LYCORIS),
    (r"\.lokr_w\d", "a LoKr of LyCORIS" + _LYCORIS),
    (r"\.(oft_blocks|oft_diag|oft_R|boft_)\b", "an OFT or BOFT network of LyCORIS" + _LYCORIS),
    (r"\.[ab][12]\.weight$", "a GLoRA of LyCORIS" + _LYCORIS),
    (r"\.on_input$", "an (IA)³ network of LyCORIS" + _LYCORIS),
    (r"\.lora_mid\.", "a LoCon of LyCORIS with Tucker decomposition" + _LYCORIS),
    (r"\.lora_[AB]\.(\w+\.)?bias$", "a LoRA with trained biases, such as BFL's LoRAs for Depth and Canny"),
    (r"\.(diff|diff_b|w_norm|b_norm|set_weight)$", "a file of whole weight differences"),
    (r"(^|\.)(bundle_emb|emb_params|string_to_param)\b", "a file with an embedding (textual inversion)"),
    (r"(lora_unet_|unet[._])(down_blocks|up_blocks|mid_block|input_blocks|middle_block|output_blocks)", "a LoRA for Stable Diffusion 1, 2 or XL" + _ONLY_FLUX),
    (r"joint_blocks[._]\d", "a LoRA for Stable Diffusion 3" + _ONLY_FLUX),
    (r"(^|[._])blocks[._]\d+[._](self_attn|cross_attn)[._]", "a LoRA for Wan or another video model" + _ONLY_FLUX),
    (r"transformer_blocks[._]\d+[._](img|txt)_(mod|mlp)[._]", "a LoRA for Qwen-Image" + _ONLY_FLUX),
    (r"(double|single)_stream_modulation", "a LoRA for FLUX.2" + _ONLY_FLUX),
)  # fmt: skip


def other_kind(names: Iterable[str]) -> str | None:
    """Return what a file with tensors of these names is instead of a plain LoRA for FLUX, to follow “is”; None if it may be one."""
    names = [unwrapped(name) for name in names]
    adapter = next((kind for pattern, kind in OTHER_ADAPTERS if any_matches(pattern, names)), None)
    model = kind_of(names)
    return adapter or (f"{model}, not a LoRA" if model not in (None, "a LoRA") else None)

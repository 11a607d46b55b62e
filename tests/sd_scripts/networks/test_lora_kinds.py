"""Files other than plain LoRAs for FLUX are identified by name."""

import pytest
import torch
from safetensors.torch import save_file

from library.errors import TrainerError
from networks.lora_file import read_lora
from networks.lora_kinds import other_kind

KINDS = {
    "double_blocks.0.processor.qkv_lora1.down.weight": "an XLabs LoRA; convert it to kohya's or diffusers' names first",
    "single_blocks.0.processor.proj_lora.up.weight": "an XLabs LoRA; convert it to kohya's or diffusers' names first",
    "transformer.x_embedder.lora_magnitude_vector": "a DoRA",
    "transformer.x_embedder.lora_magnitude_vector.default.weight": "a DoRA",
    "lora_unet_double_blocks_0_img_attn_qkv.dora_scale": "a DoRA",
    "lora_unet_double_blocks_0_img_attn_qkv.hada_w1_a": "a LoHa of LyCORIS; only --network_weights",
    "lora_unet_double_blocks_0_img_attn_qkv.lokr_w1": "a LoKr of LyCORIS; only --network_weights",
    "lora_unet_double_blocks_0_img_attn_qkv.oft_blocks": "an OFT or BOFT network of LyCORIS",
    "lora_unet_double_blocks_0_img_attn_qkv.a1.weight": "a GLoRA of LyCORIS",
    "lora_unet_double_blocks_0_img_attn_qkv.on_input": "an (IA)³ network of LyCORIS",
    "img_in.lora_B.bias": "a LoRA with trained biases, such as BFL's LoRAs for Depth and Canny",
    "diffusion_model.double_blocks.0.img_attn.qkv.diff": "a file of whole weight differences",
    "bundle_emb.cat.clip_l": "a file with an embedding",
    "lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight": "a LoRA for Stable Diffusion 1, 2 or XL; only LoRAs for FLUX.1 are read",
    "lora_unet_joint_blocks_0_context_block_attn_qkv.lora_down.weight": "a LoRA for Stable Diffusion 3",
    "diffusion_model.blocks.0.self_attn.q.lora_A.weight": "a LoRA for Wan",
    "transformer_blocks.0.img_mod.1.lora_A.weight": "a LoRA for Qwen-Image",
    "double_blocks.0.img_attn.qkv.weight": "a FLUX transformer, not a LoRA",
    "encoder.block.0.layer.0.SelfAttention.q.weight": "a T5 text encoder, not a LoRA",
}


@pytest.mark.parametrize(("name", "words"), KINDS.items())
def test_file_of_another_kind_is_reported(name, words, tmp_path):
    save_file({name: torch.ones(2, 2)}, tmp_path / "a.safetensors")
    with pytest.raises(TrainerError) as caught:
        read_lora(tmp_path / "a.safetensors", "--models")
    assert str(caught.value).startswith(f"--models {tmp_path / 'a.safetensors'} is {words}")
    assert caught.value.reason_code == "bad_model"


@pytest.mark.parametrize(
    "name",
    [
        "lora_unet_double_blocks_0_img_mlp_0.lora_down.weight",
        "transformer.transformer_blocks.0.ff_context.net.2.lora_A.weight",
        "diffusion_model.single_blocks.0.linear1.lora_A.weight",
        "lora_te1_text_model_encoder_layers_0_self_attn_q_proj.lora_up.weight",
        "lora_transformer_single_transformer_blocks_0_attn_to_q.alpha",
    ],
)
def test_lora_for_flux_is_not_detected_as_another_kind(name):
    assert other_kind([name]) is None

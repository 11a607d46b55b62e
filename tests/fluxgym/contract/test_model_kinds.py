"""Files of another format and other models are identified by name."""

import pytest

from fluxgym.contract.model_kinds import kind_of, other_format, other_model, quantized_weights, roles_of, unwrapped


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"GGUF\x03\0\0\0" + bytes(50), "GGUF"),
        (b"PK\x03\x04" + bytes(50), "pickled"),
        (b"\x80\x02ctorch" + bytes(50), "pickled"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00", "git lfs pull"),
        (b"\n<!DOCTYPE html><html><title>404", "web page"),
    ],
)
def test_other_format_names_format_and_remedy(head, words):
    assert words in other_format(head)


@pytest.mark.parametrize("head", [b"", b"\0\0", b"Repository not found", (1000).to_bytes(8, "little") + b"{"])
def test_other_format_of_unknown_bytes_returns_none(head):
    assert other_format(head) is None


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight", "a LoRA"),
        ("transformer.single_transformer_blocks.0.proj_mlp.lora_A.weight", "a LoRA"),
        ("conditioner.embedders.0.transformer.text_model.embeddings.position_ids", "a Stable Diffusion XL model"),
        ("model.diffusion_model.joint_blocks.0.context_block.attn.qkv.weight", "a Stable Diffusion 3 model"),
        ("model.diffusion_model.double_blocks.0.img_attn.qkv.weight", "a FLUX transformer"),
        ("single_transformer_blocks.3.proj_mlp.weight", "a FLUX transformer"),
        ("encoder.block.0.layer.0.SelfAttention.q.weight", "a T5 text encoder"),
        ("text_model.encoder.layers.0.self_attn.q_proj.weight", "a CLIP text encoder"),
        ("transformer.resblocks.0.attn.in_proj_weight", "a CLIP text encoder"),
        ("decoder.up_blocks.0.resnets.0.conv1.weight", "a VAE"),
        ("encoder.down.0.block.0.conv1.weight", "a VAE"),
        ("something.weight", None),
    ],
)
def test_kind_of_is_determined_by_one_tensor_name(name, kind):
    assert kind_of(["another.weight", name]) == kind


def test_roles_of_complete_checkpoint_are_all_parts():
    names = [
        "model.diffusion_model.double_blocks.0.img_attn.qkv.weight", "vae.decoder.conv_in.weight",
        "text_encoders.t5xxl.transformer.encoder.block.0.layer.0.SelfAttention.q.weight",
        "text_encoders.clip_l.transformer.text_model.embeddings.position_embedding.weight",
    ]  # fmt: skip
    assert roles_of(names) == {"transformer", "ae", "t5xxl", "clip_l"}
    assert other_model(names) is None


def test_lora_is_reported_before_model_that_it_changes():
    names = ["double_blocks.0.img_attn.qkv.lora_A.weight", "double_blocks.0.img_attn.qkv.weight"]
    assert other_model(names) == kind_of(names) == "a LoRA"
    assert roles_of(names) == {"transformer"}


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("_orig_mod.double_blocks.0.img_attn.qkv.weight", "double_blocks.0.img_attn.qkv.weight"),
        ("module._orig_mod.img_in.weight", "img_in.weight"),
        ("_orig_mod.module.img_in.weight", "img_in.weight"),
        ("model.double_blocks.0.img_mod.lin.bias", "double_blocks.0.img_mod.lin.bias"),
        ("model.x_embedder.weight", "x_embedder.weight"),
        ("double_blocks.0._orig_mod.img_attn.qkv.weight", "double_blocks.0.img_attn.qkv.weight"),
        ("double_blocks.0._checkpoint_wrapped_module.img_attn.qkv.weight", "double_blocks.0.img_attn.qkv.weight"),
        ("_fsdp_wrapped_module.single_blocks.1._fsdp_wrapped_module.linear1.weight", "single_blocks.1.linear1.weight"),
        ("transformer.base_model.model.x_embedder.lora_A.weight", "transformer.x_embedder.lora_A.weight"),
        ("model.diffusion_model.img_in.weight", "model.diffusion_model.img_in.weight"),
        ("transformer.resblocks.0.attn.in_proj_weight", "transformer.resblocks.0.attn.in_proj_weight"),
        ("text_model.encoder.layers.0.mlp.fc1.weight", "text_model.encoder.layers.0.mlp.fc1.weight"),
    ],
)
def test_names_of_wrapped_modules_are_unwrapped_and_others_stay(name, plain):
    assert unwrapped(name) == plain


@pytest.mark.parametrize(
    ("leaf", "words"),
    [
        ("weight.quant_state.bitsandbytes__nf4", "4-bit weights (bitsandbytes NF4)"),
        ("weight.quant_state.bitsandbytes__fp4", "4-bit weights (bitsandbytes FP4)"),
        ("weight.absmax", "4-bit weights (bitsandbytes)"),
        ("SCB", "8-bit weights (bitsandbytes)"),
        ("qweight", "4-bit weights (GPTQ or AWQ)"),
        ("wscales", "4-bit weights (SVDQuant of Nunchaku)"),
        ("weight._data", "quantized weights (Quanto)"),
        ("weight_scale_2", "4-bit weights (NVFP4)"),
        ("weight", None),
        ("scale_weight", None),
        ("weight_scale", None),
        ("comfy_quant", None),
    ],
)
def test_weights_that_another_program_quantized_are_called_by_its_name(leaf, words):
    name = "double_blocks.0.img_attn.qkv"
    assert quantized_weights([f"{name}.weight", f"{name}.{leaf}"]) == words

"""What is no .safetensors file, or another model, is called by its name."""

import pytest

from library.weights.model_kinds import kind_of, why_no_safetensors


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"GGUF\x03\0\0\0" + bytes(50), "GGUF"),
        (b"PK\x03\x04" + bytes(50), "pickled"),
        (b"\x80\x02ctorch" + bytes(50), "pickled"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00", "git lfs pull"),
        (b"\n<!DOCTYPE html><html><title>404", "web page"),
        (b"Repository not found", "no .safetensors"),
        (b"\0\0", "cut short"),
    ],
)
def test_what_is_no_safetensors_file(head, words):
    assert words in why_no_safetensors(head, len(head))


def test_a_header_is_no_reason():
    assert why_no_safetensors((1000).to_bytes(8, "little") + b"{", 2000) is None


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight", "a LoRA"),
        ("transformer.single_transformer_blocks.0.proj_mlp.lora_A.weight", "a LoRA"),
        ("conditioner.embedders.0.transformer.text_model.embeddings.position_ids", "a Stable Diffusion XL model"),
        ("model.diffusion_model.joint_blocks.0.context_block.attn.qkv.weight", "a Stable Diffusion 3 model"),
        ("model.diffusion_model.double_blocks.0.img_attn.qkv.weight", "a FLUX transformer"),
        ("single_transformer_blocks.3.proj_mlp.weight", "a FLUX transformer"),
        ("double_blocks.0.img_attn.qkv.weight.absmax", "a model in bitsandbytes' 4 bits"),
        ("encoder.block.0.layer.0.SelfAttention.q.weight", "a T5 text encoder"),
        ("text_model.encoder.layers.0.self_attn.q_proj.weight", "a CLIP text encoder"),
        ("transformer.resblocks.0.attn.in_proj_weight", "a CLIP text encoder"),
        ("decoder.up_blocks.0.resnets.0.conv1.weight", "an autoencoder"),
        ("encoder.down.0.block.0.conv1.weight", "an autoencoder"),
        ("something.weight", None),
    ],
)
def test_models_are_known_by_their_tensors(name, kind):
    assert kind_of(["another.weight", name]) == kind

"""Model files are identified by their headers."""

import json
import os
import struct
from pathlib import Path

import pytest

from fluxgym.errors import ModelError
from fluxgym.models.catalog import check_file
from fluxgym.models.identify import identify

DEV = {"guidance_in.in_layer.weight": "BF16", "double_blocks.0.img_attn.qkv.weight": "BF16"}
DIFFUSERS = {"x_embedder.weight": "BF16", "single_transformer_blocks.0.proj_mlp.weight": "BF16"}
CLIP, T5, AE = (
    "text_model.embeddings.position_embedding.weight",
    "encoder.block.0.layer.0.SelfAttention.q.weight",
    "decoder.conv_in.weight",
)


def write(path, tensors, *, lost=0):
    """Write a file of 2x2 tensors of the given types; `lost` bytes are missing at its end."""
    header, end = {}, 0
    for name, dtype in tensors.items():
        num_bytes = 4 * {"F32": 4, "BF16": 2, "F16": 2}.get(dtype, 1)
        header[name] = {"dtype": dtype, "shape": [2, 2], "data_offsets": [end, end + num_bytes]}
        end += num_bytes
    text = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((struct.pack("<Q", len(text)) + text + bytes(end))[: 8 + len(text) + end - lost])
    return path


@pytest.mark.parametrize(
    ("tensors", "words", "roles"),
    [
        (DEV, "FLUX.1 dev in bf16", {"transformer"}),
        ({"double_blocks.0.img_attn.qkv.weight": "F8_E4M3"}, "FLUX.1 schnell in fp8", {"transformer"}),
        (DIFFUSERS, "FLUX.1 schnell in bf16, diffusers' names", {"transformer"}),
        ({CLIP: "F32"}, "a CLIP text encoder", {"clip_l"}),
        ({T5: "F16"}, "a T5 text encoder", {"t5xxl"}),
        ({AE: "F32"}, "a VAE", {"ae"}),
        (
            {f"model.diffusion_model.{name}": dtype for name, dtype in DEV.items()}
            | {f"vae.{AE}": "F32", f"text_encoders.t5xxl.transformer.{T5}": "F8_E4M3", f"text_encoders.clip_l.transformer.{CLIP}": "F16"},
            "a whole checkpoint of FLUX.1 dev in bf16",
            {"transformer", "ae", "clip_l", "t5xxl"},
        ),
        ({"x": "U8"}, "an unknown model", set()),
    ],
)
def test_identify_names_model_and_its_roles(tensors, words, roles, tmp_path):
    identity = identify(write(tmp_path / "m.safetensors", tensors))
    assert (identity.words, identity.roles, identity.problem) == (words, roles, None)
    assert identity.version == next((version for version in ("dev", "schnell") if version in words), "")
    assert identity.message == f"This is {words}."


def test_pocket_model_is_called_miniature():
    words = identify(Path("models/pocket/flux.safetensors")).words
    assert words == "a miniature of 192 instead of 3072 channels with the layers of FLUX.1 dev in bf16"


OTHERS = {
    "lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight": "a LoRA",
    "conditioner.embedders.0.transformer.text_model.x": "a Stable Diffusion XL model",
    "model.diffusion_model.joint_blocks.0.x": "a Stable Diffusion 3 model",
}


@pytest.mark.parametrize("name", OTHERS)
def test_identify_names_models_of_other_families(name, tmp_path):
    assert identify(write(tmp_path / "m.safetensors", {name: "F16"})).problem == f"file is {OTHERS[name]}"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "damaged or not a .safetensors file"),
        (b"GGUF\3\0\0\0" + bytes(90), "GGUF"),
        (b"PK\x03\x04" * 30, "pickled"),
        (b"<!DOCTYPE html><title>Sign in", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (struct.pack("<Q", 5) + b"[1,2]", "damaged or not a .safetensors file"),
    ],
)
def test_identify_file_that_is_not_model_names_what_it_is(data, words, tmp_path):
    (tmp_path / "m.safetensors").write_bytes(data)
    assert words in identify(tmp_path / "m.safetensors").message


def test_identify_truncated_file_gives_its_size(tmp_path):
    path = write(tmp_path / "m.safetensors", DEV, lost=3)
    assert f"cut short: it has {path.stat().st_size} of {path.stat().st_size + 3} bytes" in identify(path).message
    assert "cannot be read" in identify(tmp_path / "nowhere.safetensors").message


def test_identify_longer_file_reports_it_is_damaged(tmp_path):
    path = write(tmp_path / "m.safetensors", DEV)
    size = path.stat().st_size
    path.write_bytes(path.read_bytes() + b"12")
    assert f"damaged: it has {size + 2} bytes, but its header says {size}" in identify(path).message


def test_identify_diffusers_folder_names_its_model(tmp_path):
    write(tmp_path / "vae" / "diffusion_pytorch_model.safetensors", {AE: "F32"})
    write(tmp_path / "transformer" / "a-00001-of-00002.safetensors", {"x_embedder.weight": "BF16"})
    write(tmp_path / "transformer" / "a-00002-of-00002.safetensors", {"single_transformer_blocks.0.proj_mlp.weight": "BF16"})
    shards = {"x_embedder.weight": "a-00001-of-00002.safetensors", "y": "a-00002-of-00002.safetensors"}
    (tmp_path / "transformer" / "a.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    whole = identify(tmp_path)
    assert (whole.words, whole.roles) == ("a diffusers folder of FLUX.1 schnell in bf16, diffusers' names", {"transformer", "ae"})
    assert identify(tmp_path / "transformer").roles == {"transformer"}
    (tmp_path / "transformer" / "a-00002-of-00002.safetensors").unlink()
    assert "lacks the shard a-00002-of-00002.safetensors" in identify(tmp_path).message
    (tmp_path / "empty").mkdir()
    assert "has no .safetensors file" in identify(tmp_path / "empty").message


def test_index_with_byte_order_mark_is_read(tmp_path):
    write(tmp_path / "a-00001-of-00001.safetensors", {"double_blocks.0.img_attn.qkv.weight": "BF16"})
    weight_map = {"double_blocks.0.img_attn.qkv.weight": "a-00001-of-00001.safetensors"}
    (tmp_path / "a.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}), encoding="utf-8-sig")
    assert identify(tmp_path).roles == {"transformer"}


def test_identify_4_bit_weights_reports_what_to_choose(tmp_path):
    name = "double_blocks.0.img_attn.qkv.weight"
    tensors = {name: "U8", f"{name}.absmax": "F32", f"{name}.quant_state.bitsandbytes__nf4": "U8"}
    sentence = identify(write(tmp_path / "nf4.safetensors", tensors)).message
    assert sentence == "This file has 4-bit weights (bitsandbytes NF4); choose the model in bf16, fp16 or fp8."


@pytest.mark.parametrize("wrap", ["_orig_mod.{}", "module.{}", "model.{}", "module._orig_mod.{}"])
def test_identify_model_that_was_saved_wrapped_names_it(wrap, tmp_path):
    tensors = {wrap.format(name): dtype for name, dtype in DEV.items()}
    assert identify(write(tmp_path / "flux.safetensors", tensors)).words == "FLUX.1 dev in bf16"


def test_named_pipe_is_refused_without_waiting_for_it(tmp_path):
    os.mkfifo(tmp_path / "ae.safetensors")
    assert identify(tmp_path / "ae.safetensors").message == "This file cannot be read: it is a named pipe."
    os.mkfifo(tmp_path / "model.safetensors.index.json")
    assert identify(tmp_path).message == "This file model.safetensors.index.json cannot be read: it is a named pipe."
    with pytest.raises(ModelError, match=r"^The VAE \(ae\) .*ae\.safetensors: the file cannot be read: it is a named pipe\.$"):
        check_file(tmp_path / "ae.safetensors", "ae")


def test_link_to_model_is_read(tmp_path):
    (tmp_path / "link.safetensors").symlink_to(write(tmp_path / "disk" / "flux.safetensors", DEV))
    assert identify(tmp_path / "link.safetensors").version == "dev"

"""CLIP-L and T5 are loaded from every file format and give transformers' own outputs."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

from library.errors import TrainerError
from library.models.family import DeviceStore
from library.models.flux1.loading import load_clip_l, load_t5
from library.placement.layout import TextEncoderLayout
from tests.support.block_swap import MAX_RESIDENT_BLOCKS, RecordingTransfer


@pytest.fixture(name="clip")
def fixture_clip():
    torch.manual_seed(0)
    config = CLIPTextConfig(vocab_size=90, hidden_size=128, intermediate_size=192, num_hidden_layers=3, num_attention_heads=2)
    config.bos_token_id, config.eos_token_id, config.pad_token_id = 88, 89, 89
    return CLIPTextModel(config).eval()


@pytest.fixture(name="t5")
def fixture_t5():
    torch.manual_seed(0)
    return T5EncoderModel(
        T5Config(vocab_size=90, d_model=96, d_kv=16, d_ff=160, num_layers=3, num_heads=5, feed_forward_proj="gated-gelu")
    ).eval()


def as_openai(model):
    """Return CLIP's text tensors under OpenAI's names, with queries, keys and values in one."""
    state, out = model.state_dict(), {}
    out["token_embedding.weight"] = state["embeddings.token_embedding.weight"]
    out["positional_embedding"] = state["embeddings.position_embedding.weight"]
    for leaf in ("weight", "bias"):
        out[f"ln_final.{leaf}"] = state[f"final_layer_norm.{leaf}"]
        for i in range(3):
            ours, theirs = f"encoder.layers.{i}", f"transformer.resblocks.{i}"
            out[f"{theirs}.attn.in_proj_{leaf}"] = torch.cat([state[f"{ours}.self_attn.{x}_proj.{leaf}"] for x in "qkv"])
            out[f"{theirs}.attn.out_proj.{leaf}"] = state[f"{ours}.self_attn.out_proj.{leaf}"]
            for number in (1, 2):
                out[f"{theirs}.ln_{number}.{leaf}"] = state[f"{ours}.layer_norm{number}.{leaf}"]
            out[f"{theirs}.mlp.c_fc.{leaf}"] = state[f"{ours}.mlp.fc1.{leaf}"]
            out[f"{theirs}.mlp.c_proj.{leaf}"] = state[f"{ours}.mlp.fc2.{leaf}"]
    return out


@torch.no_grad()
@pytest.mark.parametrize("form", ["comfyui", "whole checkpoint", "transformers folder", "openai"])
def test_clip_loads_from_every_format(form, clip, tmp_path):
    path = tmp_path / "clip.safetensors"
    if form == "transformers folder":
        path = tmp_path
        clip.save_pretrained(tmp_path / "text_encoder")
    elif form == "openai":
        save_file(as_openai(clip) | {"text_projection": torch.ones(2, 2)}, path)
    else:
        prefix = "text_model." if form == "comfyui" else "text_encoders.clip_l.transformer.text_model."
        save_file({prefix + name: tensor for name, tensor in clip.state_dict().items()} | {"logit_scale": torch.ones(1)}, path)
    ids = torch.randint(0, 90, (2, 77))
    ids[:, 20] = 89
    loaded = load_clip_l(str(path), dtype=torch.float32, device="cpu")
    assert torch.allclose(loaded(ids), clip(input_ids=ids).pooler_output, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("form", ["fp16", "bf16 in a whole checkpoint", "sharded folder", "fp8", "scaled fp8"])
def test_t5_loads_from_every_format(form, t5, tmp_path):
    path = tmp_path / "t5.safetensors"
    state = {name: tensor for name, tensor in t5.state_dict().items() if name != "encoder.embed_tokens.weight"}
    if form == "sharded folder":
        t5.save_pretrained(tmp_path / "text_encoder_2", max_shard_size="200KB")
        assert len(list((tmp_path / "text_encoder_2").glob("*.safetensors"))) > 1
        path = tmp_path
    elif form == "fp16":
        save_file({name: tensor.copy_(tensor.half()).half() for name, tensor in state.items()}, path)
    elif form.startswith("bf16"):
        save_file({f"text_encoders.t5xxl.transformer.{name}": t.copy_(t.bfloat16()).bfloat16() for name, t in state.items()}, path)
    else:
        save_file(_float8(state, scaled=form.startswith("scaled")), path)
    ids = torch.randint(0, 90, (2, 30))
    loaded = load_t5(str(path), dtype=torch.float32, store=DeviceStore("cpu"))
    assert torch.allclose(loaded(input_ids=ids).last_hidden_state, t5(input_ids=ids).last_hidden_state, atol=1e-5)


def _float8(state, *, scaled):
    """Round the matrices of a state to float8, in place too, so that the reference computes with the same numbers."""
    tensors = {"scaled_fp8": torch.zeros(0).to(torch.float8_e4m3fn)} if scaled else {}
    for name, tensor in state.items():
        scale = tensor.abs().max() / 448 if scaled and tensor.dim() == 2 else torch.tensor(1.0)
        tensors[name] = (tensor / scale).to(torch.float8_e4m3fn if tensor.dim() == 2 else torch.float32)
        tensor.copy_(tensors[name].float() * scale)
        if scaled and tensor.dim() == 2:
            tensors[name.removesuffix("weight") + "scale_weight"] = scale
    return tensors


@pytest.fixture(name="transfer")
def fixture_transfer():
    return RecordingTransfer()


def store_that_swaps(transfer):
    """The store of a device that a whole T5 does not fit on, with the CPU as that device."""
    return TextEncoderLayout(
        torch.device("cpu"), torch.float32, fits_on=lambda num_bytes, device: num_bytes < 1000, new_transfer=lambda device: transfer
    )


def test_trained_t5_that_does_not_fit_keeps_no_block_for_its_backward_pass(t5, tmp_path, transfer):
    t5.save_pretrained(tmp_path)
    ids = torch.randint(0, 90, (2, 30))
    results = []
    for model in (t5.requires_grad_(False), load_t5(str(tmp_path), dtype=torch.float32, store=store_that_swaps(transfer))):
        embedded = model.shared(ids).detach().requires_grad_(True)
        model(inputs_embeds=embedded).last_hidden_state.square().mean().backward()
        results.append(embedded.grad)
    assert torch.equal(*results)
    assert transfer.most_live == MAX_RESIDENT_BLOCKS


@torch.no_grad()
def test_t5_that_does_not_fit_is_copied_block_by_block(t5, tmp_path, transfer):
    """Copies are clones, two blocks are there at most, and the numbers are the same."""
    t5.save_pretrained(tmp_path)
    ids = torch.randint(0, 90, (2, 30))
    loaded = load_t5(str(tmp_path), dtype=torch.float32, store=store_that_swaps(transfer))
    for _ in range(2):
        assert torch.equal(loaded(input_ids=ids).last_hidden_state, t5(input_ids=ids).last_hidden_state)
    assert transfer.notes.count("use 1") == 2
    assert transfer.most_live == MAX_RESIDENT_BLOCKS


def test_encoders_are_not_mistaken_for_each_other(clip, t5, tmp_path):
    save_file({f"text_model.{name}": tensor for name, tensor in clip.state_dict().items()}, tmp_path / "clip.safetensors")
    t5.save_pretrained(tmp_path / "t5")
    with pytest.raises(TrainerError, match="is not a CLIP text encoder: it is a T5 text encoder"):
        load_clip_l(str(tmp_path / "t5" / "model.safetensors"), dtype=None, device="cpu")
    with pytest.raises(TrainerError, match="is not a T5 text encoder: it is a CLIP text encoder"):
        load_t5(str(tmp_path / "clip.safetensors"), dtype=None, store=DeviceStore("cpu"))
    assert "shared.weight" in load_file(tmp_path / "t5" / "model.safetensors")

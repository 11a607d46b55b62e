"""The encoders equal transformers' own models made from a config by hand; tokenizers are found where kohya and ComfyUI put them."""

import os
from functools import partial

import pytest
import torch
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

from library.errors import TrainerError
from library.models.family import DeviceStore
from library.models.flux1.loading import load_clip_l, load_t5
from library.models.flux1.text_encoders import Flux1TextEncoders, encode_clip, encode_t5, load_tokenizers
from pocket.vocabulary import build_clip, build_t5

CAPTIONS = ["a yellow star on a purple background", "sks cat"]


@pytest.fixture(scope="module", name="folder")
def fixture_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoders")
    build_clip(folder / "tokenizer_clip")
    build_t5(folder / "tokenizer_t5")
    return folder


@pytest.fixture(name="tokenizers")
def fixture_tokenizers(folder):
    return load_tokenizers(str(folder / "clip_l.safetensors"), str(folder / "t5xxl.safetensors"), None, 512)


def saved(model, path, prefix="", drop=()):
    state = {prefix + key: tensor.contiguous() for key, tensor in model.state_dict().items() if key not in drop}
    save_file(state, path)
    return str(path)


def test_named_pipe_in_tokenizer_is_refused_without_waiting_for_it(tmp_path):
    (tmp_path / "tokenizer_clip").mkdir()
    os.mkfifo(tmp_path / "tokenizer_clip" / "vocab.json")
    with pytest.raises(TrainerError, match=r"The tokenizer's file .*vocab\.json cannot be read: it is a named pipe\."):
        load_tokenizers(str(tmp_path / "clip_l.safetensors"), str(tmp_path / "t5xxl.safetensors"), None, 512)


@torch.no_grad()
def test_clip_equals_transformers(tokenizers, tmp_path):
    torch.manual_seed(0)
    end = len(tokenizers.clip_tokenizer) - 1
    config = CLIPTextConfig(vocab_size=end + 1, hidden_size=128, intermediate_size=192, num_hidden_layers=3, num_attention_heads=2)
    config.bos_token_id, config.eos_token_id, config.pad_token_id = end - 1, end, end
    reference = CLIPTextModel(config).eval()
    model = load_clip_l(saved(reference, tmp_path / "clip.safetensors", "text_model."), dtype=None, device="cpu")
    ids = tokenizers.clip(CAPTIONS)
    assert ids.shape == (2, 77)
    assert torch.allclose(encode_clip(model, ids), reference(input_ids=ids).pooler_output, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("masked", [False, True])
def test_t5_equals_transformers(tokenizers, tmp_path, masked):
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=len(tokenizers.t5_tokenizer), d_model=96, d_kv=16, d_ff=160, num_layers=2, num_heads=5, feed_forward_proj="gated-gelu"
    )
    reference = T5EncoderModel(config).eval()
    path = saved(reference, tmp_path / "t5.safetensors", drop=("encoder.embed_tokens.weight",))
    model = load_t5(path, dtype=None, store=DeviceStore("cpu"))
    ids, mask = tokenizers.t5(CAPTIONS)
    expected = reference(input_ids=ids, attention_mask=mask if masked else None).last_hidden_state
    actual = encode_t5(model, ids, mask if masked else None)
    if masked:
        expected = expected * mask[..., None]
    assert actual.shape == (2, tokenizers.t5_length, 96)
    assert torch.allclose(actual, expected, atol=1e-6)


def test_tokenizer_limits_length(tokenizers, folder):
    assert tokenizers.t5_length == 48
    assert load_tokenizers(str(folder / "c"), str(folder / "t"), None, 16).t5_length == 16
    ids, mask = tokenizers.t5(["a red circle " * 100])
    assert ids.shape == (1, 48)
    assert mask.all()


def test_kohya_cache_folder_is_looked_at_first(folder, tmp_path):
    build_clip(tmp_path / "openai_clip-vit-large-patch14", num_merges=10)
    found = load_tokenizers(str(folder / "c"), str(folder / "t"), str(tmp_path), 512)
    assert len(found.clip_tokenizer) < 600


def test_missing_tokenizer_is_reported(tmp_path):
    with pytest.raises(TrainerError, match="tokenizer of openai/clip-vit-large-patch14 was not found"):
        load_tokenizers(str(tmp_path / "c"), str(tmp_path / "t"), None, 512)


@pytest.mark.parametrize("load", [partial(load_clip_l, device="cpu"), partial(load_t5, store=DeviceStore("cpu"))], ids=["clip_l", "t5"])
def test_file_of_another_model_is_reported(tmp_path, load):
    save_file({"something.weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(TrainerError, match="is not a"):
        load(str(tmp_path / "other.safetensors"), dtype=None)


def test_lengths_are_those_of_captions_that_may_be_too_long(tokenizers):
    encoders = Flux1TextEncoders(clip=None, t5=None, tokenizers=tokenizers)
    long = "a yellow star " * 300
    lengths, limit = encoders.lengths({"a.png": long, "b.png": "sks cat"})
    assert lengths == {"a.png": len(tokenizers.t5_tokenizer(long)["input_ids"])}
    assert lengths["a.png"] > limit == tokenizers.t5_length

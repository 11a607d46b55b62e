"""Models: search paths, errors of files, and defaults of unchanged fields."""

import os
import struct

import pytest
import yaml

from fluxgym.config.settings import TrainConfig
from fluxgym.errors import ModelError
from fluxgym.models.catalog import apply_defaults, default_model, find_files, list_models, regularization_folder
from tests.support.small_installation import small_installation, write_one_tensor, write_safetensors


@pytest.fixture(name="models")
def fixture_models(tmp_path):
    return small_installation(tmp_path).models


def test_default_model_is_pocket_until_flux_dev_is_complete(models):
    assert default_model(models) == "pocket"
    for path in ("unet/flux1-dev.sft", "vae/ae.sft", "clip/clip_l.safetensors", "clip/t5xxl_fp16.safetensors"):
        write_safetensors(models / path)
    assert default_model(models) == "flux-dev"
    with pytest.raises(ModelError, match="CLIP-L tokenizer"):
        find_files("flux-dev", models)
    for name in ("tokenizer_clip", "google_t5-v1_1-xxl"):
        (models / "clip" / name).mkdir()
    assert find_files("flux-dev", models).transformer == models / "unet/flux1-dev.sft"


@pytest.mark.parametrize(("data", "named"), [(b"", "damaged"), (b"PK\x03\x04" * 10, "pickled"), (None, "cut short")])
def test_find_files_names_damaged_file(data, named, models):
    path = models / "pocket" / "ae.safetensors"
    path.write_bytes(path.read_bytes()[:-1] if data is None else data)
    with pytest.raises(ModelError, match=named) as caught:
        find_files("pocket", models)
    assert "ae.safetensors" in str(caught.value)


@pytest.mark.parametrize(
    "name", ["flux.safetensors", "ae.safetensors", "clip_l.safetensors", "t5xxl.safetensors", "tokenizer_clip/vocab.json"]
)
def test_named_pipe_is_refused_without_waiting_for_it(name, models):
    path = models / "pocket" / name
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    with pytest.raises(ModelError, match=r"cannot be read: it is a named pipe\.$") as caught:
        find_files("pocket", models)
    assert str(path) in str(caught.value)
    assert caught.value.field == "base_model"


def test_models_yaml_that_is_named_pipe_is_refused(models):
    os.mkfifo(models / "models.yaml")
    with pytest.raises(ModelError, match=r"models\.yaml cannot be read: it is a named pipe\."):
        list_models(models)


def test_models_yaml_of_user_adds_models_with_defaults(models):
    own = {
        "mine": {
            "title": "Mine",
            "files": dict.fromkeys(("transformer", "ae", "clip_l", "t5xxl"), "pocket/ae.safetensors"),
            "defaults": {"resolution": 768},
        }
    }
    (models / "models.yaml").write_text(yaml.safe_dump(own))
    assert [model.id for model in list_models(models)][-1] == "mine"
    assert apply_defaults({"base_model": "mine"}, models)["resolution"] == 768
    (models / "models.yaml").write_text("mine: {title: x}")
    with pytest.raises(ModelError, match=r"models\.yaml"):
        list_models(models)


FILES = "files: {transformer: a, ae: a, clip_l: a, t5xxl: a}"


@pytest.mark.parametrize(
    "text",
    [f"mine: {{{FILES}, defaults: [1]}}", f"mine: {{{FILES}, defaults: {{advanced: 5}}}}", "- a", "5", "mine: 5", "mine: {files: 5}", "[" * 9999],
    ids=range(7),
)  # fmt: skip
def test_invalid_models_yaml_is_reported(text, models):
    (models / "models.yaml").write_text(text)
    with pytest.raises(ModelError, match=r"models\.yaml cannot be read"):
        apply_defaults({"base_model": "mine"}, models)


@pytest.mark.parametrize(
    "header", ["[" * 100_000, '{"x": {"data_offsets": []}}', '{"x": 5}', "[]", '{"x": {"data_offsets": ["a", "b"]}}'], ids=range(5)
)
def test_find_files_with_invalid_header_reports_damaged(header, models):
    path = models / "pocket" / "ae.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header.encode())
    with pytest.raises(ModelError, match="damaged"):
        find_files("pocket", models)


def test_apply_defaults_fills_only_missing_settings(models):
    filled = apply_defaults({"lora_name": "x", "resolution": 128, "advanced": {"train_batch_size": 2}}, models)
    assert (filled["base_model"], filled["resolution"], filled["network_dim"]) == ("pocket", 128, 16)
    assert filled["advanced"]["train_batch_size"] == 2
    assert filled["advanced"]["network_alpha"] == 16
    TrainConfig.from_state(filled)


def test_built_in_defaults_are_valid_settings(models):
    for model in list_models(models):
        TrainConfig.from_state(apply_defaults({"lora_name": "x", "base_model": model.id}, models))


def test_regularization_folder_is_relative_to_models_and_must_exist(models):
    config = TrainConfig(lora_name="x", advanced={"reg_data_dir": "pocket/prior"})
    assert regularization_folder(config, models) == models / "pocket/prior"
    assert regularization_folder(TrainConfig(lora_name="x"), models) is None
    with pytest.raises(ModelError, match="nowhere"):
        regularization_folder(TrainConfig(lora_name="x", advanced={"reg_data_dir": "nowhere"}), models)


def test_find_files_with_file_of_another_kind_names_its_kind(models):
    path = models / "pocket" / "clip_l.safetensors"
    write_one_tensor(path, "encoder.block.0.layer.0.SelfAttention.q.weight")
    with pytest.raises(ModelError, match=r"clip_l\.safetensors is a T5 text encoder; put the right file there"):
        find_files("pocket", models)
    write_one_tensor(path, "lora_te1_x.lora_up.weight")
    with pytest.raises(ModelError, match=r"the file is a LoRA"):
        find_files("pocket", models)


def test_find_files_accepts_diffusers_folders(models):
    names = {"transformer": "transformer", "ae": "vae", "clip_l": "text_encoder", "t5xxl": "text_encoder_2"}
    tensors = (
        "single_transformer_blocks.0.proj_mlp.weight",
        "decoder.conv_in.weight",
        "encoder.layers.0.self_attn.x",
        "SelfAttention.q.weight",
    )
    for folder, tensor in zip(names.values(), tensors, strict=True):
        write_one_tensor(models / "mine" / folder / "model.safetensors", tensor)
    files = {role: f"mine/{folder}" for role, folder in names.items()}
    (models / "models.yaml").write_text(yaml.safe_dump({"mine": {"title": "Mine", "files": files}}))
    with pytest.raises(ModelError, match="tokenizer"):
        find_files("mine", models)
    for name in ("tokenizer", "tokenizer_2"):
        (models / "mine" / name).mkdir()
    assert find_files("mine", models).transformer == models / "mine" / "transformer"

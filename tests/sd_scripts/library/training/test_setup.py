"""What the training decides from its files before it begins; the training itself is driven in integration/test_trainer.py."""

import gc
import math

import pytest
import torch
from safetensors.torch import save_file
from transformers import T5EncoderModel

from library.cli.parse import parse
from library.errors import TrainerError
from library.models.flux1.transformer import Flux
from library.process import StopFlag
from library.training.base_model import BaseModel
from library.training.progress_log import ProgressLog
from library.training.setup import build_trainer, describe_dataset
from tests.support.lora import lora_tensors
from tests.support.photos import write_cats
from tests.support.stops import flags, write_dataset
from tests.support.tiny_models import model_flags, write_tiny_models


class TransformerWanted(Exception):
    """Ends a training at the moment when the transformer would be loaded."""


def large_models():
    return [each for each in gc.get_objects() if type(each) in (T5EncoderModel, Flux)]


@pytest.mark.parametrize("train_clip", [True, False])
def test_t5_is_released_before_transformer_is_loaded(train_clip, tmp_path, monkeypatch):
    """Their weights are the two largest things of a training: 9 and 24 GB that must never be in memory together."""
    write_tiny_models(tmp_path / "models")
    write_cats(tmp_path / "images" / "1_cat", count=1, size=64)
    (tmp_path / "prompts.txt").write_text("a cat --w 64 --h 64\n")
    seen, others = [], large_models()  # another test's may be alive

    def load_transformer(*_):
        gc.collect()
        seen.extend(each for each in large_models() if not any(each is other for other in others))
        raise TransformerWanted

    monkeypatch.setattr(BaseModel, "load_transformer", load_transformer)
    config = parse([
        *model_flags(tmp_path / "models"), "--train_data_dir", str(tmp_path / "images"), "--output_dir", str(tmp_path / "out"),
        "--resolution", "64", "--cache_text_encoder_outputs", "--cache_latents", "--sample_prompts", str(tmp_path / "prompts.txt"),
        "--sample_every_n_steps", "1", "--max_train_steps", "1", "--seed", "1", *([] if train_clip else ["--network_train_unet_only"]),
    ])  # fmt: skip
    with pytest.raises(TransformerWanted):
        build_trainer(config, ProgressLog(None), StopFlag())
    assert seen == []


@pytest.fixture(name="run")
def fixture_run(tmp_path_factory, monkeypatch):
    """Build a trainer whose models are never loaded: doing so fails the test."""
    folder = tmp_path_factory.mktemp("run")
    models = write_tiny_models(folder / "models")
    dataset = write_dataset(folder / "d.toml", write_cats(folder / "cats", count=1, size=64))
    for name in ("load_text_encoders", "load_vae", "load_transformer"):
        monkeypatch.setattr(BaseModel, name, lambda *_, **__: pytest.fail("a model was loaded"))

    def run(out, *extra):
        return build_trainer(parse(flags(models, dataset, out, *extra)), ProgressLog(str(out)), StopFlag())

    return run


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (["--loss_type", "huber"], "--huber_schedule constant"),
        (["--optimizer_type", "Lionheart"], "Lionheart is not an optimizer"),
        (["--optimizer_args", "betas=3"], "--optimizer_args"),
        (["--network_dim", "99999999999999999999"], "--network_dim 99999999999999999999 is too large; it must be at most 4096"),
        (["--network_args", "loraplus_lr_ratio=1e308"], "loraplus_lr_ratio=1e[+]308"),
        (["--optimizer_args", "eps=1e400"], "eps=1e400"),
        (["--resume", "/nope"], "--resume /nope: there is no such folder. Give the folder of a saved state, or leave --resume out"),
        (["--lr_scheduler", "hill"], "--lr_scheduler hill"),
        (["--optimizer_args", "capturable=True"], "--optimizer_args capturable=True does not fit"),
        (["--lr_scheduler_type", "StepLR", "--lr_scheduler_args", "step_size=0"], "step_size=0 does not fit StepLR"),
        (
            ["--lr_scheduler", "cosine", "--lr_warmup_steps", "5", "--max_train_epochs", "1", "--gradient_accumulation_steps", "999"],
            "--lr_warmup_steps 5 gives the only step",
        ),
        (["--log_with", "tensorboard"], "--logging_dir"),
        (["--torch_compile", "--dynamo_backend", "nvprims_nvfuser"], "--dynamo_backend"),
        (
            ["--network_args", "train_double_block_indices=0-1"],
            "train_double_block_indices=0-1 is not supported; the model's blocks are 0 to 0",
        ),
        (
            ["--network_args", "train_single_block_indices=2"],
            "train_single_block_indices=2 is not supported; the model's blocks are 0 to 1",
        ),
        (
            ["--network_args", "train_blocks=single", "train_single_block_indices=none", "--network_train_unet_only"],
            "nothing would be trained",
        ),
        (["--network_weights", "nowhere.safetensors"], "--network_weights nowhere.safetensors is missing"),
        (
            ["--network_weights", "nowhere.safetensors", "--network_module", "lycoris.kohya", "--network_args", "algo=loha"],
            "safetensors is missing",
        ),
    ],
)
def test_invalid_flags_are_reported_before_models_are_loaded(extra, words, run, tmp_path):
    with pytest.raises(TrainerError, match=words):
        run(tmp_path, *extra)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, r"lora_unet_double_blocks_0_img_attn_proj.lora_down.weight is \[2, 8\], not \[2, 64\]"),
        ({"lora_down.weight": torch.full((2, 8), math.nan)}, "contains NaN or infinity"),
        ({"lora_up.weight": None}, "lacks its lora_up.weight"),
    ],
)
def test_mismatching_network_weights_are_reported_before_models_are_loaded(changes, words, run, tmp_path):
    tensors = {name: tensor for name, tensor in lora_tensors(**changes).items() if tensor is not None}
    save_file(tensors, tmp_path / "old.safetensors")
    with pytest.raises(TrainerError, match=words):
        run(tmp_path / "out", "--network_weights", str(tmp_path / "old.safetensors"), "--network_dim", "2")


def test_folder_at_path_of_lora_is_noticed_before_anything_is_loaded(run, tmp_path):
    (tmp_path / "cat.safetensors").mkdir()
    with pytest.raises(TrainerError, match="is a folder"):
        run(tmp_path)


def test_dataset_is_described_without_loading_model(run, tmp_path):
    write_tiny_models(tmp_path / "models")
    dataset = write_dataset(tmp_path / "d.toml", write_cats(tmp_path / "cats", count=2, size=64))
    assert "2 images, 4 with repeats" in describe_dataset(parse(flags(tmp_path / "models", dataset, tmp_path / "out")))
    assert not (tmp_path / "out").exists()

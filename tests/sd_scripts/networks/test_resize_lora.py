"""A resized LoRA is NumPy's truncated SVD of the old one, and the whole of it at full rank."""

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from library.models.flux1.layer_names import CLIP_PREFIX, FLUX_PREFIX
from networks.command_line import run_command
from networks.lora_file import read_lora
from networks.lora_flux import LoRASpec, create_network
from networks.lora_keys import to_diffusers
from networks.resize_lora import build_parser, rank_for, resize
from tests.support.lora import randomize_lora
from tests.support.tiny_models import make_clip, make_flux


def go(*argv):
    return run_command(build_parser(), resize, [str(word) for word in argv])


@pytest.fixture(name="lora", params=["kohya", "diffusers"])
def fixture_lora(request, tmp_path):
    network = create_network({FLUX_PREFIX: make_flux(), CLIP_PREFIX: make_clip()}, LoRASpec(rank=6, alpha=3.0), seed=0)
    randomize_lora(network)
    weights = network.weights()
    path = tmp_path / "lora.safetensors"
    save_file(to_diffusers(weights) if request.param == "diffusers" else weights, path, {"ss_training_comment": "mine"})
    return path


def deltas(path):
    return {pair.name: pair.delta().numpy() for pair in read_lora(path, "a LoRA").pairs()}


def test_full_rank_is_identity(lora, tmp_path):
    assert go("--model", lora, "--save_to", tmp_path / "same.safetensors", "--new_rank", 6) == 0
    old, new = deltas(lora), deltas(tmp_path / "same.safetensors")
    assert old.keys() == new.keys()
    assert all(np.allclose(old[name], new[name], atol=1e-5) for name in old)


def test_lower_rank_matches_numpy_truncation_and_keeps_format(lora, tmp_path):
    assert go("--model", lora, "--save_to", tmp_path / "small.safetensors", "--new_rank", 2) == 0
    new = deltas(tmp_path / "small.safetensors")
    for name, old in deltas(lora).items():
        u, s, vh = np.linalg.svd(old, full_matrices=False)
        assert np.allclose(new[name], u[:, :2] * s[:2] @ vh[:2], atol=1e-5)
    assert {pair.rank for pair in read_lora(tmp_path / "small.safetensors", "a LoRA").pairs()} == {2}
    assert read_lora(tmp_path / "small.safetensors", "x").form == read_lora(lora, "x").form
    with safe_open(tmp_path / "small.safetensors", "pt") as file:
        notes = file.metadata()
    assert notes["ss_training_comment"] == "dimension is resized from 6 to 2; mine"
    assert (notes["ss_network_dim"], notes["ss_network_alpha"]) == ("2", "1.0")  # the scale of 1/2 is kept


VALUES = torch.tensor([10.0, 6.0, 3.0, 1.0])  # sum 20, squares 146


@pytest.mark.parametrize(
    ("method", "target", "highest", "expected"),
    [
        (None, None, 3, 3), ("sv_ratio", 2, 4, 2), ("sv_ratio", 4, 4, 3), ("sv_ratio", 1, 4, 1), ("sv_cumulative", 0.8, 4, 2),
        ("sv_cumulative", 0.81, 4, 3), ("sv_cumulative", 1.0, 4, 4), ("sv_fro", 0.9, 4, 2), ("sv_fro", 0.98, 4, 3), ("sv_fro", 0.98, 2, 2),
        ("sv_fro", 0.96, 4, 2),
    ],
)  # fmt: skip
def test_rank_is_smallest_that_reaches_target(method, target, highest, expected):
    assert rank_for(VALUES, method, target, highest) == expected
    assert rank_for(torch.zeros(4), "sv_fro", 0.5, 4) == 1


def test_dynamic_rank_is_printed(lora, tmp_path, capsys):
    argv = ("--model", lora, "--save_to", tmp_path / "d.safetensors", "--new_rank", 6, "--dynamic_method", "sv_fro", "--dynamic_param", 0.9)
    assert go(*argv, "--verbose", "--new_conv_rank", 4, "--save_precision", "bf16") == 0
    out, err = capsys.readouterr()
    assert "lora_unet_single_blocks_1_linear2: rank 6 -> " in out
    assert "--new_conv_rank has no effect" in err
    old, new = deltas(lora), deltas(tmp_path / "d.safetensors")
    assert all(np.linalg.norm(new[name]) > 0.89 * np.linalg.norm(old[name]) for name in old)
    with safe_open(tmp_path / "d.safetensors", "pt") as file:
        assert file.metadata()["ss_network_dim"] == "Dynamic"


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--new_rank", 0], "--new_rank"),
        (["--dynamic_method", "sv_fro"], "--dynamic_param"),
        (["--dynamic_method", "sv_fro", "--dynamic_param", 2], "--dynamic_param 2"),
        (["--dynamic_method", "sv_ratio", "--dynamic_param", 0.5], "--dynamic_param 0.5"),
    ],
)
def test_invalid_value_is_reported(flags, named, tmp_path, capsys):
    assert go("--model", "x", "--save_to", tmp_path / "y.safetensors", *flags) == 2
    assert named in capsys.readouterr().err

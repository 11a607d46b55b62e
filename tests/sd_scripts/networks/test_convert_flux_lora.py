"""Conversion to the other key format and back gives identical tensors and metadata; the command runs from any folder."""

import subprocess
import sys
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from library.models.flux1.layer_names import CLIP_PREFIX, FLUX_PREFIX
from networks.command_line import run_command
from networks.convert_flux_lora import build_parser, convert
from networks.lora_flux import LoRASpec, create_network
from tests.support.lora import randomize_lora
from tests.support.tiny_models import make_clip, make_flux

SCRIPT = Path(__file__).parents[3] / "sd-scripts" / "networks" / "convert_flux_lora.py"


def go(*argv):
    return run_command(build_parser(), convert, [str(word) for word in argv])


def make_lora(path):
    network = create_network({FLUX_PREFIX: make_flux(), CLIP_PREFIX: make_clip()}, LoRASpec(rank=4, alpha=1.0), seed=0)
    randomize_lora(network)
    save_file(network.weights(torch.bfloat16), path, {"ss_seed": "7"})


def test_conversion_round_trip_is_exact(tmp_path):
    first, theirs, back = (tmp_path / f"{name}.safetensors" for name in ("first", "theirs", "back"))
    make_lora(first)
    assert go("--src_path", first, "--dst_path", theirs, "--dst", "diffusers") == 0
    assert all(name.startswith(("transformer.", "text_encoder.")) for name in load_file(theirs))
    assert go("--src_path", theirs, "--dst_path", back, "--dst", "sd-scripts", "--src", "ai-toolkit") == 0
    old, new = load_file(first), load_file(back)
    assert set(old) == set(new)
    assert all(torch.equal(old[name], new[name]) and old[name].dtype == new[name].dtype for name in old)
    with safe_open(back, "pt") as file:
        assert file.metadata()["ss_seed"] == "7"


def test_user_error_prints_one_error_message(tmp_path, capsys):
    make_lora(tmp_path / "lora.safetensors")
    assert (
        go("--src_path", tmp_path / "lora.safetensors", "--dst_path", tmp_path / "x.safetensors", "--dst", "kohya", "--src", "diffusers")
        == 2
    )
    assert "has kohya's keys" in capsys.readouterr().err
    assert not (tmp_path / "x.safetensors").exists()


def test_command_runs_from_anywhere(tmp_path):
    make_lora(tmp_path / "lora.safetensors")
    argv = [sys.executable, str(SCRIPT), "--src_path", "lora.safetensors", "--dst_path", "out/new.safetensors", "--dst", "diffusers"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "new.safetensors").exists()

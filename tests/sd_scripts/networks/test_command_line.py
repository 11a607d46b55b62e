"""The LoRA commands: a user error gives one error line and exit code 2, and no file is written."""

import pytest
import torch
from safetensors.torch import save_file

from networks import convert_flux_lora, flux_merge_lora, resize_lora
from networks.command_line import run_command
from tests.support.lora import lora_tensors

COMMANDS = {"convert": convert_flux_lora.convert, "merge": flux_merge_lora.merge, "resize": resize_lora.resize}
PARSERS = {"convert": convert_flux_lora, "merge": flux_merge_lora, "resize": resize_lora}


@pytest.mark.parametrize(
    ("command", "flags", "words"),
    [
        ("merge", "--models {lora} --ratios nan --save_to {out}", "--ratios needs a number, not “nan”."),
        ("merge", "--models {lora} --ratios x --save_to {out}", "--ratios needs a number, not “x”."),
        ("merge", "--models {lora} --ratios 1 --save_to {out} --working_device zzz", "--working_device zzz cannot be used"),
        ("resize", "--model {lora} --save_to {out} --new_rank x", "--new_rank"),
        ("resize", "--model {lora} --save_to {out} --device zzz", "--device zzz cannot be used"),
        (
            "resize",
            "--model {lora} --save_to {out} --dynamic_method sv_ratio --dynamic_param nan",
            "--dynamic_param needs a number, not “nan”.",
        ),
        ("convert", "--src_path {lora} --dst_path {folder} --dst diffusers", "is a folder; name a file"),
        ("convert", "--src_path {lora} --dst_path {lora}/x.safetensors --dst diffusers", "cannot be written"),
        ("convert", "--src_path {folder} --dst_path {out} --dst diffusers", "cannot be read: it is a folder"),
    ],
)
def test_user_error_prints_one_error_line(command, flags, words, tmp_path, capsys):
    save_file(lora_tensors(), tmp_path / "lora.safetensors")
    (tmp_path / "folder.safetensors").mkdir()
    paths = {"lora": tmp_path / "lora.safetensors", "out": tmp_path / "out.safetensors", "folder": tmp_path / "folder.safetensors"}
    argv = flags.format(**paths).split()
    assert run_command(PARSERS[command].build_parser(), COMMANDS[command], argv) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert words in error
    assert not paths["out"].exists()


def test_merge_to_nan_writes_no_file(tmp_path, capsys):
    save_file(lora_tensors(), tmp_path / "lora.safetensors")
    save_file({"double_blocks.0.img_attn.proj.weight": torch.full((8, 8), float("nan"))}, tmp_path / "flux.safetensors")
    lora, flux, out = (str(tmp_path / f"{name}.safetensors") for name in ("lora", "flux", "out"))
    argv = ["--models", lora, "--ratios", "1", "--flux_model", flux, "--save_to", out]
    assert run_command(flux_merge_lora.build_parser(), flux_merge_lora.merge, argv) == 2
    assert "contain NaN or infinity" in capsys.readouterr().err
    assert not (tmp_path / "out.safetensors").exists()

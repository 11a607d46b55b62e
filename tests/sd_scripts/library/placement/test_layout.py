"""How the flags lay the frozen transformer out; the card's own part is in tests/gpu."""

import pytest
import torch
from torch import nn

from library.placement.layout import load_base
from library.placement.quantization import quantize_blocks
from tests.support.tiny_models import PARAMS, flux_inputs, make_flux, save
from tests.support.trainer_args import base_model_args

CPU = torch.device("cpu")


@pytest.fixture(name="path", scope="module")
def fixture_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "flux.safetensors"
    save(make_flux(), path)
    return path


@torch.no_grad()
@pytest.mark.parametrize(
    ("changes", "kind"), [({"fp8_base": True}, "fp8"), ({"fp8_base": True, "base_quantization": "nf4"}, "nf4"), ({}, None)]
)
def test_the_base_is_rounded_as_asked(changes, kind, path):
    wanted = make_flux()
    if kind:
        quantize_blocks(wanted, kind, torch.float32)
    flux = load_base(base_model_args(path, **changes), CPU, torch.float32)
    assert torch.equal(flux(**flux_inputs(PARAMS)), wanted(**flux_inputs(PARAMS)))
    assert type(flux.single_blocks[0].linear1) is nn.Linear  # a CPU keeps the rounded numbers wide


@torch.no_grad()
def test_reading_and_mapping_are_the_same(path):
    mapped, read = (load_base(base_model_args(path, disable_mmap_load_safetensors=off), CPU, torch.float32) for off in (False, True))
    assert torch.equal(mapped(**flux_inputs(PARAMS)), read(**flux_inputs(PARAMS)))


def test_a_cpu_has_no_need_to_swap(path, capsys):
    load_base(base_model_args(path, blocks_to_swap=2), CPU, torch.float32)
    assert "warning: 1 blocks were to be swapped" in capsys.readouterr().err


def test_float8_products_need_the_chip(path, capsys):
    load_base(base_model_args(path, fp8_base=True, fp8_matmul=True), CPU, torch.float32)
    assert "--fp8_matmul has no effect" in capsys.readouterr().err


def test_offloading_activations_implies_checkpointing(path):
    assert load_base(base_model_args(path, cpu_offload_checkpointing=True), CPU, torch.float32).gradient_checkpointing

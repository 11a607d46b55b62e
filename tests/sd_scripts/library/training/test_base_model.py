"""How the frozen transformer is loaded and placed; what only a GPU shows is in tests/gpu."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from library.models.flux1.layer_names import FLUX_PREFIX
from library.placement.activations import BlockCheckpointing
from library.placement.quantization import quantize_blocks
from networks.lora_flux import LoRASpec, create_network
from tests.support.base_model import load_transformer
from tests.support.lora import randomize_lora
from tests.support.tiny_models import PARAMS, flux_inputs, make_flux, save
from tests.support.trainer_config import trainer_config

CPU = torch.device("cpu")


@pytest.fixture(name="path", scope="module")
def fixture_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "flux.safetensors"
    save(make_flux(), path)
    return path


@torch.no_grad()
@pytest.mark.parametrize(("changes", "kind"), [({"base_quantization": "fp8"}, "fp8"), ({"base_quantization": "nf4"}, "nf4"), ({}, None)])
def test_base_model_is_quantized_as_configured(changes, kind, path):
    wanted = make_flux()
    if kind:
        quantize_blocks(wanted.blocks, kind, torch.float32)
    flux = load_transformer(path, **changes)
    assert torch.equal(flux(**flux_inputs(PARAMS)), wanted(**flux_inputs(PARAMS)))
    assert type(flux.single_blocks[0].linear1) is nn.Linear  # a CPU keeps the rounded numbers wide


@torch.no_grad()
def test_read_and_mapped_weights_are_equal(path):
    mapped, read = (load_transformer(path, mapped=is_mapped) for is_mapped in (True, False))
    assert torch.equal(mapped(**flux_inputs(PARAMS)), read(**flux_inputs(PARAMS)))


def test_block_swap_on_cpu_is_ignored(path, capsys):
    load_transformer(path, blocks_to_swap=2)
    assert "warning: 1 blocks were to be swapped" in capsys.readouterr().err


def test_float8_products_need_chip(path, capsys):
    load_transformer(path, base_quantization="fp8", fp8_matmul=True)
    assert "--fp8_matmul has no effect" in capsys.readouterr().err


def test_gradient_checkpointing_gives_transformer_block_runner(path):
    assert load_transformer(path).block_runner is None
    assert isinstance(load_transformer(path, gradient_checkpointing=True).block_runner, BlockCheckpointing)


def test_cpu_offload_checkpointing_implies_gradient_checkpointing():
    assert trainer_config(cpu_offload_checkpointing=True).placement.gradient_checkpointing


@torch.no_grad()
def test_base_weights_are_merged_before_blocks_are_quantized_for_good(path, tmp_path):
    merged = make_flux()
    network = create_network({FLUX_PREFIX: merged}, LoRASpec(rank=3, alpha=1.0), seed=1)
    randomize_lora(network)
    save_file(network.weights(), tmp_path / "lora.safetensors")
    loaded = load_transformer(path, lora_files=[tmp_path / "lora.safetensors"])
    change = (merged(**flux_inputs(PARAMS)) - make_flux()(**flux_inputs(PARAMS))).norm()
    assert (loaded(**flux_inputs(PARAMS)) - merged(**flux_inputs(PARAMS))).norm() < 1e-5 * change

"""How the frozen transformer is loaded and placed; what only a GPU shows is in tests/gpu."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from library.config import BaseWeights, ModelConfig, PlacementConfig
from library.models.flux1.family import open_flux1
from library.placement.activations import BlockCheckpointing
from library.placement.quantization import quantize_blocks
from library.training.base_model import BaseModel
from networks.lora_flux import create_network
from tests.sd_scripts.networks.test_lora_flux import fill_up, inputs
from tests.support.tiny_models import PARAMS, make_flux, save
from tests.support.trainer_config import trainer_config

CPU = torch.device("cpu")


@pytest.fixture(name="path", scope="module")
def fixture_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "flux.safetensors"
    save(make_flux(), path)
    return path


def load(path, device=CPU, dtype=torch.float32, base_weights=(), *, mapped=True, **placement):
    """Load the transformer of a file as these placement settings say."""
    files = ModelConfig(pretrained_model_name_or_path=str(path), ae="", clip_l="", t5xxl="", disable_mmap_load_safetensors=not mapped)
    files_to_merge = [BaseWeights(path=str(each)) for each in base_weights]
    return BaseModel(open_flux1(files), files, files_to_merge, device=device, dtype=dtype).load_transformer(PlacementConfig(**placement))


@torch.no_grad()
@pytest.mark.parametrize(("changes", "kind"), [({"base_quantization": "fp8"}, "fp8"), ({"base_quantization": "nf4"}, "nf4"), ({}, None)])
def test_the_base_is_rounded_as_asked(changes, kind, path):
    wanted = make_flux()
    if kind:
        quantize_blocks(wanted.blocks, kind, torch.float32)
    flux = load(path, **changes)
    assert torch.equal(flux(**inputs(PARAMS)), wanted(**inputs(PARAMS)))
    assert type(flux.single_blocks[0].linear1) is nn.Linear  # a CPU keeps the rounded numbers wide


@torch.no_grad()
def test_reading_and_mapping_are_the_same(path):
    mapped, read = (load(path, mapped=is_mapped) for is_mapped in (True, False))
    assert torch.equal(mapped(**inputs(PARAMS)), read(**inputs(PARAMS)))


def test_a_cpu_has_no_need_to_swap(path, capsys):
    load(path, blocks_to_swap=2)
    assert "warning: 1 blocks were to be swapped" in capsys.readouterr().err


def test_float8_products_need_the_chip(path, capsys):
    load(path, base_quantization="fp8", fp8_matmul=True)
    assert "--fp8_matmul has no effect" in capsys.readouterr().err


def test_gradient_checkpointing_gives_the_transformer_a_block_runner(path):
    assert load(path).block_runner is None
    assert isinstance(load(path, gradient_checkpointing=True).block_runner, BlockCheckpointing)


def test_cpu_offload_checkpointing_implies_gradient_checkpointing():
    assert trainer_config(cpu_offload_checkpointing=True).placement.gradient_checkpointing


@torch.no_grad()
def test_base_weights_are_merged_before_the_blocks_are_quantized_for_good(path, tmp_path):
    merged = make_flux()
    network = create_network(merged, None, rank=3, alpha=1.0, seed=1)
    fill_up(network)
    save_file(network.weights(), tmp_path / "lora.safetensors")
    loaded = load(path, base_weights=[tmp_path / "lora.safetensors"])
    change = (merged(**inputs(PARAMS)) - make_flux()(**inputs(PARAMS))).norm()
    assert (loaded(**inputs(PARAMS)) - merged(**inputs(PARAMS))).norm() < 1e-5 * change

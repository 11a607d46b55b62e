"""What only a card can show of the memory tiers; the same logic runs on the CPU in tests/sd_scripts/library (block_swap, quantization)."""

import copy

import pytest
import torch
from safetensors.torch import save_file

from library.models.flux1.layer_names import FLUX_PREFIX
from library.placement.activations import BlockCheckpointing
from library.placement.block_swap import CudaBlockTransfer, pin, swap_blocks
from library.placement.quantization import KINDS, QuantizedLinear, quantize_blocks
from networks.lora_flux import LoRASpec, create_network
from tests.support.base_model import load_transformer
from tests.support.lora import randomize_lora
from tests.support.tiny_models import PARAMS, flux_inputs, make_flux, save

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
CUDA = torch.device("cuda")
LAYOUTS = {
    "24G": {},
    "20G and 16G": {"base_quantization": "fp8"},
    "10G and 8G": {"base_quantization": "fp8", "blocks_to_swap": 28},
    "12G": {"base_quantization": "fp8", "split_mode": True},
    "nf4": {"base_quantization": "nf4", "blocks_to_swap": 1},
    "offloaded": {"cpu_offload_checkpointing": True},
    "float8 products": {"base_quantization": "fp8", "fp8_matmul": True},
}


def on_card(x):
    return {name: None if value is None else value.to(CUDA) for name, value in x.items()}


def gradients(flux):
    network = create_network({FLUX_PREFIX: flux}, LoRASpec(rank=4, alpha=4.0), seed=1).to(CUDA)
    randomize_lora(network)
    with torch.autocast("cuda", torch.bfloat16):
        out = flux(**on_card(flux_inputs(PARAMS)))
    out.float().square().mean().backward()
    return [out.detach(), *(parameter.grad for parameter in network.parameters())]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_trains_close_to_plain_one(layout, tmp_path):
    save(make_flux(), tmp_path / "flux.safetensors")
    plain, laid = (
        gradients(load_transformer(tmp_path / "flux.safetensors", CUDA, torch.bfloat16, gradient_checkpointing=True, **changes))
        for changes in ({}, LAYOUTS[layout])
    )
    for a, b in zip(plain, laid, strict=True):
        assert b.isfinite().all()
        assert (a - b).float().norm() < 0.3 * a.float().norm() + 1e-6


@pytest.mark.parametrize("checkpointing", [True, False])
def test_swapped_blocks_compute_same_bit_for_bit(checkpointing):
    results = []
    for is_swapped in (False, True):
        flux = copy.deepcopy(make_flux()).bfloat16()
        flux.block_runner = BlockCheckpointing() if checkpointing else None
        if is_swapped:
            blocks = flux.blocks
            pin(blocks)
            swap_blocks(blocks, CudaBlockTransfer(CUDA), is_checkpointed=checkpointing)
            for name, child in flux.named_children():
                if name not in ("double_blocks", "single_blocks"):
                    child.to(CUDA)
        else:
            flux.to(CUDA)
        results += [gradients(flux)]
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_swapped_blocks_take_memory_of_at_most_three():
    """Eight blocks of 32 MiB, all swapped: never more than three of them on the card, the third while it is released."""
    blocks = [torch.nn.Linear(4096, 2048, bias=False).requires_grad_(False) for _ in range(8)]
    pin(blocks)
    swap_blocks(blocks, CudaBlockTransfer(CUDA), is_checkpointed=True)
    torch.cuda.reset_peak_memory_stats()
    before, x = torch.cuda.memory_allocated(), torch.ones(1, 4096, device=CUDA)
    with torch.no_grad():
        for _ in range(3):
            for block in blocks:
                block(x)
    torch.cuda.synchronize()
    assert torch.cuda.max_memory_allocated() - before < 3.2 * (32 << 20)


@pytest.mark.parametrize("kind", KINDS)
def test_gpu_quantization_equals_cpu(kind):
    on_cpu, on_gpu = make_flux(), make_flux().to(CUDA)
    for flux in (on_cpu, on_gpu):
        quantize_blocks(flux.blocks, kind, torch.float32)
    ours, theirs = (
        [each.dequantized_weight() for each in flux.modules() if isinstance(each, QuantizedLinear)] for flux in (on_gpu, on_cpu)
    )
    assert all((a.cpu() - b).norm() < 0.01 * b.norm() for a, b in zip(ours, theirs, strict=True))


@torch.no_grad()
def test_lora_merged_into_quantized_blocks_is_there_when_they_are_swapped(tmp_path):
    flux = make_flux()
    save(flux, tmp_path / "flux.safetensors")
    network = create_network({FLUX_PREFIX: flux}, LoRASpec(rank=4, alpha=4.0), seed=1)
    randomize_lora(network)
    save_file(network.weights(), tmp_path / "lora.safetensors")
    drawn = [
        load_transformer(
            tmp_path / "flux.safetensors", CUDA, torch.bfloat16, lora_files=[tmp_path / "lora.safetensors"], base_quantization="fp8", **more
        )(**on_card(flux_inputs(PARAMS)))
        for more in ({}, {"blocks_to_swap": 28})
    ]  # fmt: skip
    assert torch.equal(*drawn)

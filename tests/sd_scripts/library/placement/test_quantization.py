"""Small weights compute what a reference makes of them (NumPy, bitsandbytes), give the input's gradient, and keep a file's own bytes."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from bitsandbytes.functional import dequantize_4bit, int8_vectorwise_dequant, int8_vectorwise_quant, quantize_4bit
from safetensors.torch import save_file
from torch import nn

from library.models.flux1.layer_names import FLUX_PREFIX
from library.models.flux1.loading import load_flux
from library.placement.quantization import (
    KINDS,
    Float8Linear,
    NF4Linear,
    QuantizedLinear,
    dequantize_blocks,
    quantize_blocks,
    quantize_rows,
    quantized_store,
)
from networks.lora_flux import LoRASpec, create_network
from tests.support.lora import randomize_lora
from tests.support.tiny_models import PARAMS, flux_inputs, make_flux

CPU = torch.device("cpu")
ROUNDING = {"fp8": 0.04, "int8": 0.01, "nf4": 0.12}  # of a bell curve's numbers, as a share of their size


def quantized(kind, weight, dtype=torch.float32):
    layer = KINDS[kind](nn.Linear(weight.shape[1], weight.shape[0]).requires_grad_(False), dtype)
    layer.store_weight(weight, None)
    return layer


def test_int8_matches_bitsandbytes():
    weight = torch.randn(64, 128).half()
    theirs, stats, _ = int8_vectorwise_quant(weight)
    kept, scale = quantize_rows(weight, torch.int8)
    assert (kept.int() - theirs.int()).abs().max() <= 1  # a tie may fall to either side
    assert torch.allclose(kept * scale, int8_vectorwise_dequant(theirs, stats), atol=float(scale.max()))


def test_float8_rows_match_numpy():
    weight = torch.randn(32, 64) * torch.logspace(-6, 2, 32)[:, None]
    kept, scale = quantize_rows(weight, torch.float8_e4m3fn)
    expected_scale = np.abs(weight.numpy()).max(1, keepdims=True) / np.float32(448)
    assert np.allclose(scale.numpy(), expected_scale, rtol=1e-6)
    error = np.abs(kept.float().numpy() * scale.numpy() - weight.numpy())
    spacing = np.maximum(np.abs(weight.numpy()) / 16, expected_scale * 2.0**-10)  # half of the last of 3 digits, or of the smallest number
    assert (error <= spacing * 1.001).all()


def test_nf4_matches_bitsandbytes():
    weight = torch.randn(32, 128)
    layer = quantized("nf4", weight)
    expected = dequantize_4bit(*quantize_4bit(weight, blocksize=64, quant_type="nf4"))
    assert torch.equal(layer.dequantized_weight(), expected)
    assert sum(tensor.nbytes for tensor in layer.stored()) < weight.nbytes / 7


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_layer_computes_with_its_rounded_weight_and_gives_inputs_gradient(kind, dtype):
    torch.manual_seed(0)
    layer, x = quantized(kind, torch.randn(48, 64).to(dtype), dtype), torch.randn(2, 5, 64, requires_grad=True)
    wide, y = layer.dequantized_weight(), x.detach().clone().requires_grad_()
    out, expected = layer(x), F.linear(y.to(dtype), wide, layer.bias.to(dtype))
    out.float().square().sum().backward()
    expected.float().square().sum().backward()
    assert torch.equal(out, expected)
    assert torch.allclose(x.grad, y.grad, rtol=1e-3 if dtype == torch.float32 else 2e-2, atol=1e-3)
    assert not any(parameter.requires_grad for parameter in layer.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_autograd_keeps_small_form_only(kind):
    layer, sizes = quantized(kind, torch.randn(256, 256)), []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: sizes.append(tensor.nbytes) or tensor, lambda tensor: tensor):
        layer(torch.randn(1, 256, requires_grad=True)).sum()
    assert 0 < sum(sizes) < 256 * 256 * 4 / 3


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_model_is_close_and_smaller(kind):
    flux, x = make_flux(), flux_inputs(PARAMS)
    exact = flux(**x)
    made = quantize_blocks(flux.blocks, kind, torch.float32)
    assert len(made) == 10 * len(flux.double_blocks) + 3 * len(flux.single_blocks)
    assert all(layer.weight.nbytes <= layer.in_features * layer.out_features for layer in made)
    assert 0 < (flux(**x) - exact).norm() < ROUNDING[kind] * exact.norm()
    rounded = flux(**x)
    dequantize_blocks(flux.blocks)
    assert not any(isinstance(module, QuantizedLinear) for module in flux.modules())
    assert torch.equal(flux(**x), rounded)


@pytest.mark.parametrize("kind", KINDS)
def test_loras_gradients_pass_through(kind):
    flux = make_flux()
    quantize_blocks(flux.blocks, kind, torch.float32)
    network = create_network({FLUX_PREFIX: flux}, LoRASpec(rank=4, alpha=4.0), seed=1)
    randomize_lora(network)
    flux(**flux_inputs(PARAMS)).square().mean().backward()
    assert all(p.grad.abs().sum() > 0 for p in network.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_loading_quantizes_as_loaded_model_is_quantized(kind, tmp_path):
    save_file(make_flux().state_dict(), tmp_path / "flux.safetensors")
    loaded, wanted = load_quantized(tmp_path / "flux.safetensors", kind), make_flux()
    quantize_blocks(wanted.blocks, kind, torch.float32)
    for ours, theirs in zip(layers(loaded), layers(wanted), strict=True):
        assert all(torch.equal(a.float(), b.float()) for a, b in zip(ours.stored(), theirs.stored(), strict=True))
        assert torch.equal(ours.bias, theirs.bias)
    assert not any(tensor.is_meta for tensor in [*loaded.parameters(), *loaded.buffers()])


@pytest.mark.parametrize("storage", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_float8_file_keeps_its_bytes_and_scales(storage, tmp_path):
    state = copy.deepcopy(make_flux().state_dict())
    name = "single_blocks.0.linear1"
    kept = (state[f"{name}.weight"] * 8).to(storage)
    state |= {f"{name}.weight": kept, f"{name}.scale_weight": torch.tensor(0.125)}
    save_file(state, tmp_path / "flux.safetensors")
    layer = load_quantized(tmp_path / "flux.safetensors", "fp8").single_blocks[0].linear1
    assert isinstance(layer, Float8Linear)
    assert torch.equal(layer.weight.view(torch.uint8), kept.view(torch.uint8))
    assert (layer.weight_scale == 0.125).all()
    assert torch.equal(layer.dequantized_weight(), kept.float() * 0.125)
    four = load_quantized(tmp_path / "flux.safetensors", "nf4").single_blocks[0].linear1
    assert isinstance(four, NF4Linear)
    assert torch.equal(four.absmax, quantize_4bit(kept.float() * 0.125, blocksize=64, quant_type="nf4")[1].absmax)


def load_quantized(path, kind):
    def prepare(flux):
        quantize_blocks(flux.blocks, kind, torch.float32)
        return quantized_store(CPU, lambda name: CPU)

    return load_flux(str(path), dtype=torch.float32, device=CPU, prepare=prepare)


def layers(flux):
    return [module for module in flux.modules() if isinstance(module, QuantizedLinear)]


@torch.no_grad()
def test_float8_storage_is_close_and_quarter_of_size():
    flux, x = make_flux(), flux_inputs(PARAMS)
    exact = flux(**x)
    quantize_blocks(flux.blocks, "fp8", torch.float32)
    assert all(block.linear1.weight.element_size() == 1 for block in flux.single_blocks)
    assert 0 < (flux(**x) - exact).norm() < 0.02 * exact.norm()

"""How many blocks are swapped, and activations that wait on the host give the same gradients."""

import pytest
import torch

from library.errors import TrainerError
from library.placement import activations
from library.placement.activations import SPLIT_MODE_BLOCKS, keep_activations_on_host, num_blocks_to_swap, swapped_prefixes
from library.placement.quantization import quantize_blocks
from networks.lora_flux import create_network
from tests.sd_scripts.networks.test_lora_flux import fill_up, inputs
from tests.support.tiny_models import PARAMS, make_flux


@torch.no_grad()
def test_float8_storage_is_close_and_a_quarter_of_the_size():
    flux, x = make_flux(), inputs(PARAMS)
    exact = flux(**x)
    quantize_blocks(flux, "fp8", torch.float32)
    assert all(block.linear1.weight.element_size() == 1 for block in flux.single_blocks)
    assert 0 < (flux(**x) - exact).norm() < 0.02 * exact.norm()


def test_how_many_blocks_are_swapped():
    assert num_blocks_to_swap(None, False, 57) == 0
    assert num_blocks_to_swap(16, False, 57) == 16
    assert num_blocks_to_swap(None, True, 57) == SPLIT_MODE_BLOCKS
    assert num_blocks_to_swap(None, True, 8) == num_blocks_to_swap(28, False, 8) == 6
    with pytest.raises(TrainerError, match="--blocks_to_swap 56"):
        num_blocks_to_swap(56, False, 57)


def test_the_last_blocks_are_swapped():
    flux = make_flux()  # one double and two single blocks
    assert swapped_prefixes(flux, 0) == ()
    assert swapped_prefixes(flux, 2) == ("single_blocks.0.", "single_blocks.1.")
    assert swapped_prefixes(flux, 3) == ("double_blocks.0.", "single_blocks.0.", "single_blocks.1.")


@pytest.mark.parametrize("checkpointing", [True, False])
def test_activations_on_the_host_give_the_same_gradients(checkpointing, monkeypatch):
    monkeypatch.setattr(activations, "MIN_OFFLOADED_BYTES", 1)
    kept, results = [], []
    for offloaded in (False, True):
        flux = make_flux()
        flux.gradient_checkpointing = checkpointing
        network = create_network(flux, None, rank=4, alpha=4.0, seed=1)
        fill_up(network)
        if offloaded:
            keep_activations_on_host(flux)
            monkeypatch.setattr(activations, "_from_host", recording(activations._from_host, kept))
        x = inputs(PARAMS)
        x["img"].requires_grad_()
        flux(**x).square().mean().backward()
        results.append([x["img"].grad, *(p.grad for p in network.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
    assert sum(isinstance(each, tuple) for each in kept) >= 3  # each block's input at least


def recording(unpack, kept):
    def recorded(packed):
        kept.append(packed)
        return unpack(packed)

    return recorded


def test_frozen_weights_are_never_taken_to_the_host(monkeypatch):
    monkeypatch.setattr(activations, "MIN_OFFLOADED_BYTES", 1)
    flux = make_flux()
    pack = activations._to_host({tensor.untyped_storage().data_ptr() for tensor in flux.parameters()})
    assert isinstance(pack(flux.img_in.weight.t()), torch.Tensor)
    assert isinstance(pack(torch.ones(3)), tuple)

"""Float8 storage changes the output by its rounding only; swapped blocks compute what resident ones do."""

import copy

import pytest
import torch

from library.errors import TrainerError
from library.offload import SPLIT_MODE_BLOCKS, _streaming_forward, num_blocks_to_swap, store_in_float8
from networks.lora_flux import create_network
from tests.sd_scripts.networks.test_lora_flux import fill_up, inputs
from tests.support.tiny_models import PARAMS, make_flux


@torch.no_grad()
def test_float8_storage_is_close_and_a_quarter_of_the_size():
    flux, x = make_flux(), inputs(PARAMS)
    exact = flux(**x)
    store_in_float8(flux, torch.float32)
    assert all(block.linear1.weight.element_size() == 1 for block in flux.single_blocks)
    assert 0 < (flux(**x) - exact).norm() < 0.02 * exact.norm()


def test_gradients_of_the_lora_pass_through_float8():
    flux = make_flux()
    store_in_float8(flux, torch.float32)
    network = create_network(flux, None, rank=4, alpha=4.0, seed=1)
    fill_up(network)
    flux(**inputs(PARAMS)).square().mean().backward()
    assert all(p.grad.abs().sum() > 0 for p in network.parameters())


@pytest.mark.parametrize("checkpointing", [False, True])
def test_streamed_blocks_compute_the_same_gradients(checkpointing):
    """The GPU's path with the CPU as the "device": the copies are taken anew at each forward, as they are on a GPU."""
    gradients = []
    for streamed in (False, True):
        flux = copy.deepcopy(make_flux())
        network = create_network(flux, None, rank=4, alpha=4.0, seed=1)
        fill_up(network)
        flux.gradient_checkpointing = checkpointing
        if streamed:
            for block in flux.single_blocks:
                block.forward = _streaming_forward(block, type(block).forward, torch.device("cpu"))
        flux(**inputs(PARAMS)).square().mean().backward()
        gradients.append([p.grad for p in network.parameters()])
    assert all(torch.allclose(a, b, atol=1e-7) for a, b in zip(*gradients, strict=True))


def test_how_many_blocks_are_swapped():
    assert num_blocks_to_swap(None, False, 57) == 0
    assert num_blocks_to_swap(16, False, 57) == 16
    assert num_blocks_to_swap(None, True, 57) == SPLIT_MODE_BLOCKS
    assert num_blocks_to_swap(None, True, 8) == 6
    with pytest.raises(TrainerError, match="--blocks_to_swap 3"):
        num_blocks_to_swap(3, False, 3)

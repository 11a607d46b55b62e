"""Activations that wait in host memory give the same gradients."""

import pytest
import torch

from library.models.flux1.layer_names import FLUX_PREFIX
from library.placement.activations import BlockCheckpointing, HostActivations, keep_activations_on_host
from networks.lora_flux import LoRASpec, create_network
from tests.support.lora import randomize_lora
from tests.support.tiny_models import PARAMS, flux_inputs, make_flux


class CountingHost(HostActivations):
    """Counts the tensors that come back from host memory."""

    moved = 0

    def unpack(self, kept):
        self.moved += isinstance(kept, tuple)
        return super().unpack(kept)


@pytest.mark.parametrize("checkpointing", [True, False])
def test_activations_on_host_give_same_gradients(checkpointing):
    results = []
    for offloaded in (False, True):
        flux = make_flux()
        flux.block_runner = BlockCheckpointing() if checkpointing else None
        network = create_network({FLUX_PREFIX: flux}, LoRASpec(rank=4, alpha=4.0), seed=1)
        randomize_lora(network)
        host = CountingHost(flux, min_bytes=1)
        if offloaded:
            keep_activations_on_host(flux, host)
        x = flux_inputs(PARAMS)
        x["img"].requires_grad_()
        flux(**x).square().mean().backward()
        results.append([x["img"].grad, *(p.grad for p in network.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
    assert host.moved >= 3  # each block's input at least


def test_frozen_weights_and_small_tensors_stay_on_device():
    flux = make_flux()
    assert isinstance(HostActivations(flux, min_bytes=1).pack(flux.img_in.weight.t()), torch.Tensor)
    assert isinstance(HostActivations(flux, min_bytes=1).pack(torch.ones(3)), tuple)
    assert isinstance(HostActivations(flux, min_bytes=100).pack(torch.ones(3)), torch.Tensor)

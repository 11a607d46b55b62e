"""Dropout masks of the three kinds of kohya, repeatable per micro step."""

import pytest
import torch

from library.models.flux1.layer_names import FLUX_PREFIX
from library.placement.activations import BlockCheckpointing
from networks.lora_flux import LoRASpec, create_network
from networks.lora_module import Dropout, DropoutRates, MicroStep
from networks.network_args import LoRAOptions
from tests.support.lora import randomize_lora
from tests.support.tiny_models import PARAMS, flux_inputs, make_flux


def dropout(micro_step, name="lora_unet_a", **rates):
    return Dropout(DropoutRates(**rates), micro_step, name)


def test_nothing_is_dropped_outside_training_step():
    drop = dropout(MicroStep(1), neuron=0.9, rank=0.9, module=0.9)
    x = torch.ones(2, 3, 4)
    assert torch.equal(drop(x), x)
    assert not drop.skips_module()


def test_dropout_rates_are_met_and_mean_is_kept():
    x = torch.ones(16, 200, 64)
    micro_step = MicroStep(1, active=True)
    neurons = dropout(micro_step, neuron=0.25)(x)
    assert (neurons == 0).float().mean() == pytest.approx(0.25, abs=0.01)
    assert neurons.mean() == pytest.approx(1, abs=0.01)
    ranks = dropout(micro_step, rank=0.25)(x)
    assert (ranks == ranks[:, :1]).all()  # a rank is dropped for a whole image
    assert (ranks == 0).float().mean() == pytest.approx(0.25, abs=0.06)
    flat = dropout(micro_step, rank=0.5)(torch.ones(4, 64))
    assert set(flat.unique().tolist()) == {0.0, 2.0}


def test_module_is_skipped_at_its_rate():
    micro_step = MicroStep(1, active=True)
    drop = dropout(micro_step, module=0.3)
    skipped = 0
    for micro_step.step in range(500):
        skipped += drop.skips_module()
    assert skipped / 500 == pytest.approx(0.3, abs=0.06)


def test_masks_belong_to_step_micro_step_and_module():
    x = torch.ones(2, 8, 16)

    def mask(step, micro, name, index=0):
        return dropout(MicroStep(7, step, micro, active=True), name, neuron=0.5)(x, index)

    first = mask(3, 1, "a")
    assert torch.equal(first, mask(3, 1, "a"))
    assert not any(torch.equal(first, other) for other in (mask(4, 1, "a"), mask(3, 0, "a"), mask(3, 1, "b"), mask(3, 1, "a", 1)))


def spec(kind, rate, *, split_qkv):
    of_options = {kind: rate} if kind != "dropout" else {}
    options = LoRAOptions(split_qkv=split_qkv, **of_options)
    return LoRASpec(rank=4, alpha=4.0, dropout=rate if kind == "dropout" else 0.0, options=options)


@pytest.mark.parametrize("split_qkv", [False, True])
@pytest.mark.parametrize("kind", ["dropout", "rank_dropout", "module_dropout"])
def test_recompute_sees_same_masks(kind, split_qkv):
    gradients = []
    for checkpointing in (False, True, False):
        flux = make_flux()
        network = create_network({FLUX_PREFIX: flux}, spec(kind, 0.4 if len(gradients) < 2 else 0.0, split_qkv=split_qkv), seed=1)
        randomize_lora(network)
        flux.block_runner = BlockCheckpointing() if checkpointing else None
        network.start_micro_step(5, 0)
        flux(**flux_inputs(PARAMS)).square().mean().backward()
        gradients.append([torch.zeros(1) if p.grad is None else p.grad for p in network.parameters()])
    assert all(torch.allclose(a, b, atol=1e-7) for a, b in zip(*gradients[:2], strict=True))
    assert not all(a.shape == b.shape and torch.allclose(a, b, atol=1e-7) for a, b in zip(gradients[0], gradients[2], strict=True))

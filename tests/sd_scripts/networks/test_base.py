"""Saved tensors are loaded again, norms stay below their limit, and a resume with dropout is the uninterrupted training bit for bit."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from library.errors import TrainerError
from library.models.flux1.layer_names import CLIP_PREFIX, FLUX_PREFIX
from library.placement.activations import BlockCheckpointing
from networks.lora_flux import LoRASpec, create_network
from networks.network_args import LoRAOptions
from tests.support.lora import randomize_lora
from tests.support.tiny_models import PARAMS, flux_inputs, make_clip, make_flux

SIZE = {"rank": 4, "alpha": 4.0}
SINGLE = LoRAOptions(train_blocks="single")
DROPOUTS = LoRASpec(**SIZE, dropout=0.2, options=LoRAOptions(rank_dropout=0.2, module_dropout=0.2))


def training(spec):
    flux = make_flux()
    flux.block_runner = BlockCheckpointing()
    network = create_network({FLUX_PREFIX: flux}, spec, seed=1)
    randomize_lora(network)
    return flux, network, torch.optim.AdamW(network.parameters(), lr=1e-2)


def train(flux, network, optimizer, steps, *, micro_steps=2):
    for step in steps:
        for micro in range(micro_steps):
            network.start_micro_step(step, micro)
            x = flux_inputs(PARAMS)
            x["img"].requires_grad_(True)
            flux(**x).square().mean().backward()
        optimizer.step()
        network.after_step()
        optimizer.zero_grad(set_to_none=True)


@pytest.mark.parametrize("split_qkv", [False, True])
def test_resume_with_dropout_is_bit_identical(split_qkv):
    spec = replace(DROPOUTS, options=replace(DROPOUTS.options, split_qkv=split_qkv))
    straight, stopped, resumed = (training(spec) for _ in range(3))
    train(*straight, range(4))
    train(*stopped, range(2))
    resumed[1].load(stopped[1].weights(), "a checkpoint")
    resumed[2].load_state_dict(stopped[2].state_dict())
    train(*resumed, range(2, 4))
    assert all(torch.equal(a, b) for a, b in zip(straight[1].parameters(), resumed[1].parameters(), strict=True))
    without = training(LoRASpec(**SIZE, options=LoRAOptions(split_qkv=split_qkv)))
    train(*without, range(4))
    assert not all(torch.equal(a, b) for a, b in zip(straight[1].parameters(), without[1].parameters(), strict=True))


@torch.no_grad()
def test_preview_between_steps_sees_no_dropout():
    flux, network, optimizer = training(DROPOUTS)
    with torch.enable_grad():
        train(flux, network, optimizer, range(1))
    assert torch.equal(flux(**flux_inputs(PARAMS)), flux(**flux_inputs(PARAMS)))
    plain = make_flux()
    create_network({FLUX_PREFIX: plain}, LoRASpec(**SIZE), seed=1).load(network.weights(), "a file")
    assert torch.equal(flux(**flux_inputs(PARAMS)), plain(**flux_inputs(PARAMS)))


@pytest.mark.parametrize("split_qkv", [False, True])
def test_norms_above_limit_are_scaled_to_limit(split_qkv):
    spec = LoRASpec(**SIZE, options=LoRAOptions(split_qkv=split_qkv))
    before = {lora.name: delta(lora) for lora in training(spec)[1].loras}
    limit = float(np.median([np.linalg.norm(each) for each in before.values()]))
    network = training(replace(spec, max_norm=limit))[1]
    network.after_step()
    for lora in network.loras:
        old, new = before[lora.name], delta(lora)
        shrunk = min(1.0, limit / np.linalg.norm(old))
        assert np.allclose(new, old * shrunk, atol=1e-4 * np.linalg.norm(old))
    assert sum(np.linalg.norm(each) > limit for each in before.values()) > 3


def delta(lora):
    saved = {leaf: tensor.detach().double().numpy() for leaf, tensor in lora.saved().items()}
    return saved["lora_up.weight"] @ saved["lora_down.weight"] * saved["alpha"] / len(saved["lora_down.weight"])


def lora(spec, *, seed=0):
    """Return a LoRA over a transformer of its own."""
    return create_network({FLUX_PREFIX: make_flux()}, spec, seed=seed)


@torch.no_grad()
def test_initial_weights_load_matching_tensors_and_report_others(capsys):
    source = lora(LoRASpec(rank=4, alpha=2.0, options=SINGLE))
    randomize_lora(source)
    flux, expected = make_flux(), make_flux()
    network = create_network({FLUX_PREFIX: flux, CLIP_PREFIX: make_clip()}, LoRASpec(**SIZE), seed=1)
    network.load_matching_weights(source.weights(), "old.safetensors")
    assert "18 tensors are loaded, 48 start fresh, 0 are not used" in capsys.readouterr().out
    create_network({FLUX_PREFIX: expected}, LoRASpec(rank=4, alpha=2.0, options=SINGLE), seed=0).load(source.weights(), "x")
    assert torch.allclose(
        flux(**flux_inputs(PARAMS)), expected(**flux_inputs(PARAMS)), atol=1e-5
    )  # another alpha does not change the effect


def test_mismatching_initial_weights_are_reported():
    network = lora(LoRASpec(rank=4, alpha=2.0, options=SINGLE))
    double = lora(LoRASpec(rank=4, alpha=2.0, options=LoRAOptions(train_blocks="double"))).weights()
    with pytest.raises(TrainerError, match=r"old\.safetensors.*no trained tensor in common"):
        network.load_matching_weights(double, "old.safetensors")
    wider = lora(LoRASpec(rank=5, alpha=2.0, options=SINGLE)).weights()
    with pytest.raises(TrainerError, match=r"old\.safetensors.*\[5, 64\], not \[4, 64\]"):
        network.load_matching_weights(wider, "old.safetensors")
    split = lora(LoRASpec(rank=1, alpha=2.0, options=LoRAOptions(train_blocks="single", split_qkv=True)))
    mixed = lora(LoRASpec(rank=4, alpha=2.0, options=SINGLE))
    randomize_lora(mixed)
    with pytest.raises(TrainerError, match="split_qkv"):
        split.load_matching_weights({name: tensor for name, tensor in mixed.weights().items() if "linear1" in name}, "x")

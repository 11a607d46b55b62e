"""Which blocks are swapped, in which unit, and activations that wait on the host give the same gradients."""

from dataclasses import replace

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

from bench.trainer_gpu import DEV
from library.errors import TrainerError
from library.models.flux1.transformer import Flux, FluxParams
from library.placement import activations
from library.placement.activations import keep_activations_on_host, swapped_blocks
from library.placement.block_swap import swap_blocks
from library.placement.layout import Layout
from library.placement.quantization import QuantizedLinear, quantize_blocks
from networks.lora_flux import create_network
from tests.support.block_swap import RecordingTransfer
from tests.support.lora import randomize_lora
from tests.support.tiny_models import PARAMS, flux_inputs, make_flux
from tests.support.trainer_args import base_model_args

FLUX_DEV = FluxParams(**DEV)


@torch.no_grad()
def test_float8_storage_is_close_and_a_quarter_of_the_size():
    flux, x = make_flux(), flux_inputs(PARAMS)
    exact = flux(**x)
    quantize_blocks(flux, "fp8", torch.float32)
    assert all(block.linear1.weight.element_size() == 1 for block in flux.single_blocks)
    assert 0 < (flux(**x) - exact).norm() < 0.02 * exact.norm()


def names(num_double, num_single, *, blocks_to_swap=None, split_mode=False):
    """Return the names of the swapped blocks of an empty model."""
    with torch.device("meta"):
        flux = Flux(replace(PARAMS, depth=num_double, depth_single_blocks=num_single))
    return list(swapped_blocks(flux, blocks_to_swap, split_mode=split_mode))


def numbered(kind, *indices):
    return [f"{kind}_blocks.{index}" for index in indices]


@pytest.mark.parametrize(("wanted", "num_double", "num_single"), [(1, 0, 2), (18, 9, 18), (22, 11, 22), (28, 14, 28), (35, 17, 36)])
def test_swapped_blocks_of_flux_are_the_last_of_each_kind_in_kohyas_unit(wanted, num_double, num_single):
    swapped = names(19, 38, blocks_to_swap=wanted)
    assert swapped == numbered("double", *range(19 - num_double, 19)) + numbered("single", *range(38 - num_single, 38))


def test_swapped_blocks_without_flags_are_none_and_with_split_mode_are_18():
    assert names(19, 38) == names(19, 38, blocks_to_swap=0) == []
    assert names(19, 38, split_mode=True) == names(19, 38, blocks_to_swap=18)
    assert names(19, 38, split_mode=True, blocks_to_swap=22) == names(19, 38, blocks_to_swap=22)


def test_swapped_blocks_beyond_kohyas_maximum_are_refused():
    with pytest.raises(TrainerError, match=r"--blocks_to_swap 36 .* at most 35 .* 18 double and 36 single"):
        names(19, 38, blocks_to_swap=36)


def test_swapped_blocks_of_a_small_model_leave_one_of_each_kind():
    assert names(2, 6, blocks_to_swap=28) == ["double_blocks.1", *numbered("single", 1, 2, 3, 4, 5)]
    assert names(2, 6, blocks_to_swap=2) == ["double_blocks.1", *numbered("single", 4, 5)]
    assert names(1, 1, blocks_to_swap=35) == []


@pytest.mark.parametrize(("wanted", "gib"), [(None, 11.16), (18, 5.93), (22, 4.77), (28, 3.02)])
def test_resident_float8_weights_of_flux_take_what_kohyas_take(wanted, gib):
    with torch.device("meta"):
        flux = Flux(FLUX_DEV)
    layout = Layout(base_model_args("-", fp8_base=True, blocks_to_swap=wanted), torch.device("cuda", 0), torch.bfloat16)
    layout.prepare(flux)
    resident = sum(stored_bytes(module) for name, module in flux.named_modules() if layout.device_of(f"{name}.").type == "cuda")
    assert resident / (1 << 30) == pytest.approx(gib, abs=0.005)


def stored_bytes(module):
    """Return the bytes of a module's own tensors on the device: a float8 weight with a float32 scale per row, all else in bfloat16."""
    own = dict(module.named_parameters(recurse=False))
    weight = own.pop("weight").numel() + 4 * module.out_features if isinstance(module, QuantizedLinear) else 0
    return weight + sum(2 * tensor.numel() for tensor in own.values())


@pytest.mark.parametrize("checkpointing", [True, False])
@pytest.mark.parametrize("wanted", [1, 2, 5])
def test_losses_with_swapped_blocks_are_bit_for_bit_those_without(wanted, checkpointing):
    params = replace(PARAMS, depth=3, depth_single_blocks=6)
    results, mover = [], RecordingTransfer()
    for is_swapped in (False, True):
        flux = make_flux(params)
        flux.gradient_checkpointing = checkpointing
        if is_swapped:
            swapped = list(swapped_blocks(flux, wanted, split_mode=False).values())
            swap_blocks(swapped, mover, is_checkpointed=lambda flux=flux: flux.gradient_checkpointing)
        network = create_network(flux, None, rank=4, alpha=4.0, seed=1)
        randomize_lora(network)
        out = [flux(**flux_inputs(params)).square().mean() for _ in range(2)]
        sum(out).backward()
        results.append([*out, *(parameter.grad for parameter in network.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
    assert len(mover.numbers) == len(swapped)
    assert mover.most_live <= 2


def test_swapped_blocks_of_both_kinds_are_fetched_in_the_order_of_the_passes(monkeypatch):
    mover = RecordingTransfer()
    monkeypatch.setattr(activations, "CudaBlockTransfer", lambda _device: mover)
    monkeypatch.setattr(activations, "pin", lambda _blocks: None)
    flux = make_flux(replace(PARAMS, depth=3, depth_single_blocks=6))
    flux.gradient_checkpointing = True
    network = create_network(flux, None, rank=4, alpha=4.0, seed=1)
    activations.swap(flux, list(swapped_blocks(flux, 3, split_mode=False).values()), torch.device("cuda", 0))
    flux(**flux_inputs(PARAMS)).square().mean().backward()
    used = [note for note in mover.notes if note.startswith("use")]
    assert used == [f"use {index}" for index in (0, 1, 2, 3, 4, 4, 3, 2, 1, 0)]  # forward, then the recompute
    assert [note for note in mover.notes if note.startswith("start")] == [f"start {index}" for index in (0, 1, 2, 3, 4, 2, 1, 0)]
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize("checkpointing", [True, False])
def test_activations_on_the_host_give_the_same_gradients(checkpointing, monkeypatch):
    monkeypatch.setattr(activations, "MIN_OFFLOADED_BYTES", 1)
    saved, results = record_saved_tensors(monkeypatch), []
    for offloaded in (False, True):
        flux = make_flux()
        flux.gradient_checkpointing = checkpointing
        network = create_network(flux, None, rank=4, alpha=4.0, seed=1)
        randomize_lora(network)
        if offloaded:
            keep_activations_on_host(flux)
        x = flux_inputs(PARAMS)
        x["img"].requires_grad_()
        flux(**x).square().mean().backward()
        results.append([x["img"].grad, *(p.grad for p in network.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
    assert sum(isinstance(packed, tuple) for _, packed in saved) >= 3  # each block's input at least


def record_saved_tensors(monkeypatch):
    """Return a list to which each tensor that autograd saves is added with what is kept of it: a tuple when it goes to the host."""
    saved = []

    def recording_hooks(pack, unpack):
        def record(tensor):
            saved.append((tensor, pack(tensor)))
            return saved[-1][1]

        return saved_tensors_hooks(record, unpack)

    monkeypatch.setattr(activations, "saved_tensors_hooks", recording_hooks)
    return saved


def test_frozen_weights_are_never_taken_to_the_host(monkeypatch):
    monkeypatch.setattr(activations, "MIN_OFFLOADED_BYTES", 1)
    flux, saved, x = make_flux(), record_saved_tensors(monkeypatch), flux_inputs(PARAMS)
    keep_activations_on_host(flux)
    x["img"].requires_grad_()
    flux(**x)
    weights = {parameter.untyped_storage().data_ptr() for parameter in flux.parameters()}
    is_weight_and_on_host = {(tensor.untyped_storage().data_ptr() in weights, isinstance(packed, tuple)) for tensor, packed in saved}
    assert is_weight_and_on_host == {(True, False), (False, True)}

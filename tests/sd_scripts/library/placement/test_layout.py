"""Where the transformer's tensors are kept, what swapped blocks compute, and what --blocks_to_swap and --split_mode mean."""

from dataclasses import replace

import pytest
import torch

from bench.trainer_gpu import DEV
from library.config import PlacementConfig, Quantization
from library.errors import warn
from library.models.flux1.family import Flux1Family
from library.models.flux1.layer_names import FLUX_PREFIX
from library.models.flux1.transformer import Flux, FluxParams
from library.placement.activations import BlockCheckpointing
from library.placement.block_swap import swap_blocks
from library.placement.layout import TransformerLayout, num_blocks_to_swap
from library.placement.quantization import QuantizedLinear
from networks.lora_flux import LoRASpec, create_network
from tests.support.block_swap import RecordingTransfer
from tests.support.lora import randomize_lora
from tests.support.tiny_models import PARAMS, flux_inputs, make_flux

FLUX_DEV = FluxParams(**DEV)
FAMILY = Flux1Family("dev")


def test_num_blocks_to_swap_by_default_is_zero_and_with_split_mode_is_18():
    assert num_blocks_to_swap(PlacementConfig()) == num_blocks_to_swap(PlacementConfig(blocks_to_swap=0)) == 0
    assert num_blocks_to_swap(PlacementConfig(split_mode=True)) == 18
    assert num_blocks_to_swap(PlacementConfig(split_mode=True, blocks_to_swap=22)) == 22


@pytest.mark.parametrize(("wanted", "gib"), [(None, 11.16), (18, 5.93), (22, 4.77), (28, 3.02)])
def test_resident_float8_weights_of_flux_take_what_kohya_take(wanted, gib):
    with torch.device("meta"):
        flux = Flux(FLUX_DEV)
    placement = PlacementConfig(base_quantization=Quantization.FP8, blocks_to_swap=wanted)
    layout = TransformerLayout(placement, torch.device("cuda", 0), torch.bfloat16, FAMILY.swapped_blocks, on_warning=warn)
    layout.prepare(flux, flux.blocks)
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
    results, transfer = [], RecordingTransfer()
    for is_swapped in (False, True):
        flux = make_flux(params)
        flux.block_runner = BlockCheckpointing() if checkpointing else None
        if is_swapped:
            swapped = FAMILY.swapped_blocks(flux, wanted)
            swap_blocks(swapped, transfer, is_checkpointed=checkpointing)
        network = create_network({FLUX_PREFIX: flux}, LoRASpec(rank=4, alpha=4.0), seed=1)
        randomize_lora(network)
        out = [flux(**flux_inputs(params)).square().mean() for _ in range(2)]
        sum(out).backward()
        results.append([*out, *(parameter.grad for parameter in network.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
    assert len(transfer.numbers) == len(swapped)
    assert transfer.most_live <= 2


def test_swapped_blocks_of_both_kinds_are_fetched_in_order_of_passes():
    transfer = RecordingTransfer()
    flux = make_flux(replace(PARAMS, depth=3, depth_single_blocks=6))
    layout = TransformerLayout(
        PlacementConfig(blocks_to_swap=3, gradient_checkpointing=True), torch.device("cuda", 0), torch.float32, FAMILY.swapped_blocks, on_warning=warn,
        new_transfer=lambda _device: transfer,
    )  # fmt: skip
    layout.prepare(flux, flux.blocks)
    layout.finish(flux, flux.blocks)
    flux.block_runner = layout.block_runner()
    network = create_network({FLUX_PREFIX: flux}, LoRASpec(rank=4, alpha=4.0), seed=1)
    flux(**flux_inputs(PARAMS)).square().mean().backward()
    used = [note for note in transfer.notes if note.startswith("use")]
    assert used == [f"use {index}" for index in (0, 1, 2, 3, 4, 4, 3, 2, 1, 0)]  # forward, then the recompute
    assert [note for note in transfer.notes if note.startswith("start")] == [f"start {index}" for index in (0, 1, 2, 3, 4, 2, 1, 0)]
    assert all(parameter.grad is not None for parameter in network.parameters())

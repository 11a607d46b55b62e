"""Swapped blocks: what is fetched when, at most two at once, the same numbers bit for bit, and no trace of a failure in the middle."""

import gc

import pytest
import torch

from library.placement.block_swap import BlockSwap, swap_blocks
from tests.support.block_swap import MAX_RESIDENT_BLOCKS, RecordingTransfer, all_equal, gradients_of, make_swapped_flux
from tests.support.tiny_models import PARAMS, flux_inputs, make_flux


@pytest.mark.parametrize("kind", [None, "fp8", "nf4"])
@pytest.mark.parametrize("checkpointing", [True, False])
def test_output_and_gradients_are_same_bit_for_bit(checkpointing, kind):
    plain, swapped = (make_swapped_flux(swapped=on, checkpointing=checkpointing, kind=kind) for on in (False, True))
    for seed in range(3):  # over several steps, with a sample in between
        torch.manual_seed(seed)
        x = flux_inputs(PARAMS)
        assert all_equal(gradients_of(*plain[:2], x), gradients_of(*swapped[:2], x))
        with torch.no_grad():
            assert torch.equal(plain[0](**x), swapped[0](**x))
    assert swapped[2].most_live == MAX_RESIDENT_BLOCKS


def test_next_block_is_fetched_while_one_computes_forward_and_backward():
    flux, network, transfer = make_swapped_flux(swapped=True, checkpointing=True)
    gradients_of(flux, network, flux_inputs(PARAMS))
    assert transfer.notes == [
        "start 0", "use 0", "start 1", "drop 0", "use 1", "start 2", "use 2",  # forward
        "use 2", "drop 2", "use 1", "start 0", "use 0",  # recompute
    ]  # fmt: skip


def test_sampling_starts_again_at_first_block():
    flux, _, transfer = make_swapped_flux(swapped=True, checkpointing=True)
    with torch.no_grad():
        flux(**flux_inputs(PARAMS))
        transfer.notes.clear()
        flux(**flux_inputs(PARAMS))
    assert transfer.notes == ["drop 2", "use 0", "start 1", "drop 0", "use 1", "start 2", "drop 1", "use 2", "start 0"]


def test_without_checkpointing_graph_holds_no_copies():
    flux, network, transfer = make_swapped_flux(swapped=True, checkpointing=False)
    out = flux(**flux_inputs(PARAMS))
    gc.collect()
    assert transfer.dropped
    assert all(reference() is None for reference in transfer.dropped)
    out.square().mean().backward()
    assert all(p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize("checkpointing", [True, False])
@pytest.mark.parametrize("number", [0, 1, 2])
def test_failure_in_middle_leaves_no_trace(number, checkpointing):
    plain, swapped = (make_swapped_flux(swapped=on, checkpointing=checkpointing) for on in (False, True))
    flux, x = swapped[0], flux_inputs(PARAMS)
    block = flux.blocks[number]

    def fail(*_):
        raise KeyboardInterrupt

    handle = list(block.modules())[-1].register_forward_pre_hook(fail)
    with pytest.raises(KeyboardInterrupt):
        flux(**x)
    handle.remove()
    assert all_equal(gradients_of(*plain[:2], x), gradients_of(*swapped[:2], x))
    assert swapped[2].live <= MAX_RESIDENT_BLOCKS


@pytest.mark.parametrize("seed", range(5))
def test_blocks_are_fetched_in_any_order(seed):
    blocks = [torch.nn.Linear(1, 1) for _ in range(6)]
    transfer = RecordingTransfer()
    swap = BlockSwap(blocks, transfer)
    for index in torch.randint(0, 6, (50,), generator=torch.Generator().manual_seed(seed)).tolist():
        ask = swap.refetch if index % 2 else swap.fetch
        assert torch.equal(ask(index)["weight"], blocks[index].weight)
        if index % 3 == 0:
            swap.prefetch()
        assert transfer.live <= MAX_RESIDENT_BLOCKS
    swap.release()
    assert transfer.live == 0


def test_single_swapped_block_stays():
    flux = make_flux()
    transfer = RecordingTransfer()
    swap_blocks([flux.single_blocks[1]], transfer, is_checkpointed=True)
    with torch.no_grad():
        assert torch.equal(flux(**flux_inputs(PARAMS)), make_flux()(**flux_inputs(PARAMS)))
        flux(**flux_inputs(PARAMS))
    assert transfer.notes == ["start 0", "use 0", "use 0"]

"""Swapped blocks: what is fetched when, at most two at once, the same numbers bit for bit, and no trace of a failure in the middle."""

import copy
import gc
import weakref

import pytest
import torch

from library.placement.activations import BlockCheckpointing
from library.placement.block_swap import BlockSwap, swap_blocks
from library.placement.quantization import quantize_blocks
from networks.lora_flux import create_network
from tests.sd_scripts.networks.test_lora_flux import fill_up, inputs
from tests.support.tiny_models import PARAMS, make_flux

RESIDENT = 2  # blocks on the device at most: the one that computes and the one that is on its way


class RecordingMover:
    """The CPU as a "device": copies are clones, noted in order; a dropped one becomes NaN, so that whoever still computes with it is found."""

    def __init__(self):
        self.notes, self.live, self.most_live, self.numbers, self.dropped = [], 0, 0, {}, []

    def prepare(self, blocks):
        """Leave the blocks where they are: the CPU stands for both sides."""

    def start(self, host):
        number = self.numbers.setdefault(id(next(iter(host.values()))), len(self.numbers))
        self.notes.append(f"start {number}")
        self.live += 1
        self.most_live = max(self.most_live, self.live)
        return {"number": number, "tensors": {name: tensor.detach().clone() for name, tensor in host.items()}}

    def finish(self, visit):
        self.notes.append(f"use {visit['number']}")
        return visit["tensors"]

    def drop(self, visit):
        self.notes.append(f"drop {visit['number']}")
        self.live -= 1
        for tensor in visit["tensors"].values():
            self.dropped.append(weakref.ref(tensor))
            tensor.data.view(torch.uint8).fill_(0xFF)
        visit["tensors"] = {}


def make(*, swapped, checkpointing, kind=None):
    flux = copy.deepcopy(make_flux())
    if kind:
        quantize_blocks(flux.blocks, kind, torch.float32)
    flux.block_runner = BlockCheckpointing() if checkpointing else None
    mover = RecordingMover()
    if swapped:
        blocks = flux.blocks
        swap_blocks(blocks, mover, is_checkpointed=checkpointing)
    network = create_network(flux, None, rank=4, alpha=4.0, seed=1)
    fill_up(network)
    return flux, network, mover


def gradients(flux, network, x):
    network.zero_grad()
    out = flux(**x)
    out.square().mean().backward()
    return [out.detach(), *(p.grad.clone() for p in network.parameters())]


def are_equal(first, second):
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("kind", [None, "fp8", "nf4"])
@pytest.mark.parametrize("checkpointing", [True, False])
def test_output_and_gradients_are_the_same_bit_for_bit(checkpointing, kind):
    plain, swapped = (make(swapped=on, checkpointing=checkpointing, kind=kind) for on in (False, True))
    for seed in range(3):  # over several steps, with a sample in between
        torch.manual_seed(seed)
        x = inputs(PARAMS)
        assert are_equal(gradients(*plain[:2], x), gradients(*swapped[:2], x))
        with torch.no_grad():
            assert torch.equal(plain[0](**x), swapped[0](**x))
    assert swapped[2].most_live == RESIDENT


def test_the_next_block_is_fetched_while_one_computes_forward_and_backward():
    flux, network, mover = make(swapped=True, checkpointing=True)
    gradients(flux, network, inputs(PARAMS))
    assert mover.notes == [
        "start 0", "use 0", "start 1", "drop 0", "use 1", "start 2", "use 2",  # forward
        "use 2", "drop 2", "use 1", "start 0", "use 0",  # recompute
    ]  # fmt: skip


def test_sampling_goes_round():
    flux, _, mover = make(swapped=True, checkpointing=True)
    with torch.no_grad():
        flux(**inputs(PARAMS))
        mover.notes.clear()
        flux(**inputs(PARAMS))
    assert mover.notes == ["drop 2", "use 0", "start 1", "drop 0", "use 1", "start 2", "drop 1", "use 2", "start 0"]


def test_without_checkpointing_the_graph_holds_no_copies():
    flux, network, mover = make(swapped=True, checkpointing=False)
    out = flux(**inputs(PARAMS))
    gc.collect()
    assert mover.dropped
    assert all(reference() is None for reference in mover.dropped)
    out.square().mean().backward()
    assert all(p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize("checkpointing", [True, False])
@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_failure_in_the_middle_leaves_no_trace(number, checkpointing):
    plain, swapped = (make(swapped=on, checkpointing=checkpointing) for on in (False, True))
    flux, x = swapped[0], inputs(PARAMS)
    block = flux.blocks[number]

    def fail(*_):
        raise KeyboardInterrupt

    handle = list(block.modules())[-1].register_forward_pre_hook(fail)
    with pytest.raises(KeyboardInterrupt):
        flux(**x)
    handle.remove()
    assert are_equal(gradients(*plain[:2], x), gradients(*swapped[:2], x))
    assert swapped[2].live <= RESIDENT


@pytest.mark.parametrize("seed", range(5))
def test_any_order_gets_what_it_asks_for(seed):
    blocks = [torch.nn.Linear(1, 1) for _ in range(6)]
    mover = RecordingMover()
    swap = BlockSwap(blocks, mover)
    for index in torch.randint(0, 6, (50,), generator=torch.Generator().manual_seed(seed)).tolist():
        ask = swap.refetch if index % 2 else swap.fetch
        assert torch.equal(ask(index)["weight"], blocks[index].weight)
        if index % 3 == 0:
            swap.prefetch()
        assert mover.live <= RESIDENT
    swap.release()
    assert mover.live == 0


def test_a_single_swapped_block_stays():
    flux = make_flux()
    mover = RecordingMover()
    swap_blocks([flux.single_blocks[1]], mover, is_checkpointed=True)
    with torch.no_grad():
        assert torch.equal(flux(**inputs(PARAMS)), make_flux()(**inputs(PARAMS)))
        flux(**inputs(PARAMS))
    assert mover.notes == ["start 0", "use 0", "use 0"]

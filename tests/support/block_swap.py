"""Block swap on a machine without a GPU: a transfer that records its calls, and a small FLUX whose blocks use it."""

import copy
import weakref

import torch

from library.models.flux1.layer_names import FLUX_PREFIX
from library.placement.activations import BlockCheckpointing
from library.placement.block_swap import swap_blocks
from library.placement.quantization import quantize_blocks
from networks.lora_flux import LoRASpec, create_network
from tests.support.lora import randomize_lora
from tests.support.tiny_models import make_flux

MAX_RESIDENT_BLOCKS = 2  # blocks on the device at most: the one that computes and the one that is being transferred


class RecordingTransfer:
    """The CPU as a "device": copies are clones, recorded in order; a released one becomes NaN, so that a later use is detected."""

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


def make_swapped_flux(*, swapped, checkpointing, kind=None):
    """Return a small transformer with a randomized LoRA, and the transfer that moves its blocks if they are swapped."""
    flux = copy.deepcopy(make_flux())
    if kind:
        quantize_blocks(flux.blocks, kind, torch.float32)
    flux.block_runner = BlockCheckpointing() if checkpointing else None
    transfer = RecordingTransfer()
    if swapped:
        blocks = flux.blocks
        swap_blocks(blocks, transfer, is_checkpointed=checkpointing)
    network = create_network({FLUX_PREFIX: flux}, LoRASpec(rank=4, alpha=4.0), seed=1)
    randomize_lora(network)
    return flux, network, transfer


def gradients_of(flux, network, x):
    """Return the output for inputs x and the gradient of each parameter of the network."""
    network.zero_grad()
    out = flux(**x)
    out.square().mean().backward()
    return [out.detach(), *(p.grad.clone() for p in network.parameters())]


def all_equal(first, second):
    """Return True if two lists of tensors are equal, bit for bit."""
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))

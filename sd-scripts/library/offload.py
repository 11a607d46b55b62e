"""What makes a large frozen model fit: storage in float8, and blocks that live in host memory until they are needed.

Both change where and how weights are stored, never what is computed beyond float8's rounding. Neither touches the LoRA.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from library.errors import TrainerError
from library.flux_model import Flux

SPLIT_MODE_BLOCKS = 18  # what kohya's split_mode means today
MIN_RESIDENT = 2


def store_in_float8(flux: Flux, compute_dtype: torch.dtype) -> None:
    """Keep the weights of all Linears in the blocks as float8_e4m3fn and cast them at every use; norms and the rest stay as they are."""
    for blocks in (flux.double_blocks, flux.single_blocks):
        for module in blocks.modules():
            if isinstance(module, nn.Linear):
                module.weight.data = module.weight.data.to(torch.float8_e4m3fn)
                module.forward = _casting_forward(module, compute_dtype)


def _casting_forward(linear: nn.Linear, dtype: torch.dtype):
    def forward(x: Tensor) -> Tensor:
        return F.linear(x.to(dtype), linear.weight.to(dtype), None if linear.bias is None else linear.bias.to(dtype))

    return forward


def swap_blocks(flux: Flux, num_blocks: int, device: torch.device) -> None:
    """Keep the last `num_blocks` blocks in (pinned) host memory; each is copied to the GPU for its forward, and again for its recompute.

    The copies live as long as the autograd graph of that one block, so at most one swapped block is on the GPU at a time when gradient
    checkpointing is on. Raises TrainerError when fewer than MIN_RESIDENT blocks would stay.
    """
    blocks = [*flux.double_blocks, *flux.single_blocks]
    if num_blocks > len(blocks) - MIN_RESIDENT:
        raise TrainerError(f"--blocks_to_swap {num_blocks} is too many: the model has {len(blocks)} blocks and {MIN_RESIDENT} must stay.")
    for block in blocks[-num_blocks:]:
        for parameter in block.parameters():
            parameter.data = parameter.data.to("cpu").pin_memory()
        block.forward = _streaming_forward(block, type(block).forward, device)


def _streaming_forward(block: nn.Module, forward, device: torch.device):
    caller = _Caller(block, forward)

    def streamed(*args: Tensor | tuple[Tensor, ...] | None):
        copies = {f"block.{name}": parameter.to(device, non_blocking=True) for name, parameter in block.named_parameters()}
        return functional_call(caller, copies, args)

    return streamed


class _Caller(nn.Module):
    """A module around a block that calls the block's own forward, so that functional_call can lend it other weights."""

    def __init__(self, block: nn.Module, forward) -> None:
        super().__init__()
        self.block = block
        self._forward = forward

    def forward(self, *args):
        return self._forward(self.block, *args)


def num_blocks_to_swap(blocks_to_swap: int | None, split_mode: bool, num_blocks: int) -> int:
    """Return how many blocks to swap by --blocks_to_swap or the old --split_mode, which is cut to what the model has."""
    if blocks_to_swap:
        return blocks_to_swap
    return min(SPLIT_MODE_BLOCKS, num_blocks - MIN_RESIDENT) if split_mode else 0

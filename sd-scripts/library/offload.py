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


def store_in_float8(flux: Flux, dtype: torch.dtype) -> None:
    """Keep the weights of all Linears in the blocks as float8_e4m3fn with one scale a row, and cast them to `dtype` at every use.

    The scale brings each row's largest weight to float8's largest number, so that small weights keep their digits. Norms, biases and all
    that lies outside the blocks stay as they are.
    """
    for module in [*flux.double_blocks.modules(), *flux.single_blocks.modules()]:
        if isinstance(module, nn.Linear):
            rows = module.weight.data.float().abs().amax(1, keepdim=True).clamp(min=1e-12)
            scale = rows / torch.finfo(torch.float8_e4m3fn).max
            module.weight = nn.Parameter((module.weight.data.float() / scale).to(torch.float8_e4m3fn), requires_grad=False)
            module.register_buffer("weight_scale", scale.to(dtype), persistent=False)
            module.forward = _casting_forward(module, dtype)


def _casting_forward(linear: nn.Linear, dtype: torch.dtype):
    def forward(x: Tensor) -> Tensor:
        weight = linear.weight.to(dtype) * linear.weight_scale
        return F.linear(x.to(dtype), weight, None if linear.bias is None else linear.bias.to(dtype))

    return forward


def place_blocks(flux: Flux, num_swapped: int, device: torch.device) -> None:
    """Bring the model to `device`, but keep the last `num_swapped` blocks in pinned host memory.

    A swapped block is copied to the device for its forward, and again for its recompute. The copies live as long as the autograd graph of
    that one block, so at most one swapped block is on the device at a time when gradient checkpointing is on.
    """
    blocks = [*flux.double_blocks, *flux.single_blocks]
    swapped = blocks[len(blocks) - num_swapped :]
    for block in blocks[: len(blocks) - num_swapped]:
        block.to(device)
    for name, child in flux.named_children():
        if name not in ("double_blocks", "single_blocks"):
            child.to(device)
    for block in swapped:
        for parameter in block.parameters():
            parameter.data = parameter.data.pin_memory()
        block.forward = _streaming_forward(block, type(block).forward, device)


def _streaming_forward(block: nn.Module, forward, device: torch.device):
    caller = _Caller(block, forward)

    def streamed(*args: Tensor | tuple[Tensor, ...] | None):
        stored = [*block.named_parameters(), *block.named_buffers()]
        copies = {f"block.{name}": tensor.to(device, non_blocking=True) for name, tensor in stored}
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
    """Return how many blocks to swap by --blocks_to_swap or the old --split_mode, which is cut to what the model has.

    Raises TrainerError when fewer than MIN_RESIDENT blocks would stay.
    """
    if not blocks_to_swap:
        return min(SPLIT_MODE_BLOCKS, num_blocks - MIN_RESIDENT) if split_mode else 0
    if blocks_to_swap > num_blocks - MIN_RESIDENT:
        raise TrainerError(
            f"--blocks_to_swap {blocks_to_swap} is too many: the model has {num_blocks} blocks and {MIN_RESIDENT} must stay."
        )
    return blocks_to_swap

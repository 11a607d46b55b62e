"""What stays in host memory until it is needed: swapped blocks, and the activations that wait for the backward pass.

Owns where things lie. How blocks come and go is block_swap.py's, how weights are stored quantization.py's. Neither changes what is computed.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from library.errors import TrainerError
from library.models.flux1.transformer import Flux
from library.placement.block_swap import CudaBlockTransfer, pin, swap_blocks

SPLIT_MODE_BLOCKS = 18  # what kohya's split_mode means today
MIN_RESIDENT = 2
FLUX_BLOCKS = 57
MAX_SWAPPED = FLUX_BLOCKS - MIN_RESIDENT
MIN_OFFLOADED_BYTES = 1 << 20  # what is smaller is not worth a trip


def swapped_prefixes(flux: Flux, num_swapped: int) -> tuple[str, ...]:
    """Return the beginnings of the names of the last `num_swapped` blocks' tensors."""
    names = [f"{kind}_blocks.{index}." for kind, count in _counts(flux).items() for index in range(count)]
    return tuple(names[len(names) - num_swapped :])


def _counts(flux: Flux) -> dict[str, int]:
    return {"double": len(flux.double_blocks), "single": len(flux.single_blocks)}


def swap_last_blocks(flux: Flux, num_swapped: int, device: torch.device) -> None:
    """Let the last `num_swapped` blocks, which lie in host memory, visit `device` when they are needed."""
    blocks = [*flux.double_blocks, *flux.single_blocks]
    swapped = blocks[len(blocks) - num_swapped :]
    pin(swapped)
    swap_blocks(swapped, CudaBlockTransfer(device), is_checkpointed=lambda: flux.gradient_checkpointing)


def num_blocks_to_swap(blocks_to_swap: int | None, split_mode: bool, num_blocks: int) -> int:
    """Return how many blocks to swap by --blocks_to_swap or the old --split_mode, cut to what a model smaller than FLUX.1 has.

    Raises TrainerError when fewer than MIN_RESIDENT of FLUX.1's blocks would stay.
    """
    wanted = blocks_to_swap or (SPLIT_MODE_BLOCKS if split_mode else 0)
    if wanted > MAX_SWAPPED:
        raise TrainerError(f"--blocks_to_swap {wanted} is too many: FLUX.1 has {FLUX_BLOCKS} blocks and {MIN_RESIDENT} must stay.")
    return max(0, min(wanted, num_blocks - MIN_RESIDENT))


def keep_activations_on_host(flux: Flux) -> None:
    """Move what autograd keeps between the blocks to host memory until its backward: kohya's --cpu_offload_checkpointing.

    Under gradient checkpointing that is each block's input; frozen weights and small tensors stay where they are.
    """
    forward = flux.forward
    weights = {tensor.untyped_storage().data_ptr() for tensor in [*flux.parameters(), *flux.buffers()]}

    def offloading(*args: Any, **kwargs: Any) -> Tensor:
        with saved_tensors_hooks(_to_host(weights), _from_host):
            return forward(*args, **kwargs)

    flux.forward = offloading


def _to_host(weights: set[int]) -> Callable[[Tensor], Any]:
    def pack(tensor: Tensor) -> Any:
        if tensor.nbytes < MIN_OFFLOADED_BYTES or tensor.untyped_storage().data_ptr() in weights:
            return tensor
        host = torch.empty_like(
            tensor, device="cpu", pin_memory=tensor.is_cuda
        )  # with the same strides, so that sums run in the same order
        return tensor.device, host.copy_(tensor)

    return pack


def _from_host(kept: Any) -> Tensor:
    if isinstance(kept, Tensor):
        return kept
    device, host = kept
    return host.to(device, non_blocking=True)

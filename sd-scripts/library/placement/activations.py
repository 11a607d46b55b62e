"""What stays in host memory until it is needed: swapped blocks, and the activations that wait for the backward pass.

Owns where things lie. How blocks come and go is block_swap.py's, how weights are stored quantization.py's. Neither changes what is computed.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from library.errors import TrainerError
from library.models.flux1.transformer import Flux
from library.placement.block_swap import CudaBlockTransfer, pin, swap_blocks

SPLIT_MODE_BLOCKS = 18  # the value of --blocks_to_swap that kohya's deprecated --split_mode sets
MAX_SWAPPED = 35  # kohya's maximum for FLUX.1: 17 of 19 double blocks and 36 of 38 single blocks
MIN_RESIDENT = 1  # blocks of each kind that stay on the device
MIN_OFFLOADED_BYTES = 1 << 20  # what is smaller is not worth a trip


def swapped_blocks(flux: Flux, blocks_to_swap: int | None, *, split_mode: bool) -> dict[str, nn.Module]:
    """Return the blocks that --blocks_to_swap or --split_mode keeps in host memory, by name, in the order of the forward pass.

    The unit is kohya's: N means the last N // 2 double blocks and the last 2 * (N - N // 2) single blocks. A model smaller than FLUX.1
    keeps at least MIN_RESIDENT blocks of each kind on the device. Raises TrainerError for more than MAX_SWAPPED.
    """
    wanted = blocks_to_swap or (SPLIT_MODE_BLOCKS if split_mode else 0)
    if wanted > MAX_SWAPPED:
        raise TrainerError(
            f"--blocks_to_swap {wanted} is too many: at most {MAX_SWAPPED} is possible. {wanted} stands for {wanted // 2} double and "
            f"{2 * (wanted - wanted // 2)} single blocks; FLUX.1 has 19 and 38, and two of each must stay on the GPU."
        )
    counts = {"double_blocks": wanted // 2, "single_blocks": 2 * (wanted - wanted // 2)}
    swapped = {}
    for name, count in counts.items():
        blocks = flux.get_submodule(name)
        first = max(MIN_RESIDENT, len(blocks) - count)
        swapped |= {f"{name}.{index}": blocks[index] for index in range(first, len(blocks))}
    return swapped


def swap(flux: Flux, blocks: list[nn.Module], device: torch.device) -> None:
    """Let blocks that lie in host memory, given in the order of the forward pass, visit `device` when they are needed."""
    pin(blocks)
    swap_blocks(blocks, CudaBlockTransfer(device), is_checkpointed=lambda: flux.gradient_checkpointing)


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

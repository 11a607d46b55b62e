"""The activations of a training between forward and backward pass: computed again (gradient checkpointing) or moved to host memory.

Checkpointing computes again only what is cheap. Full checkpointing runs each block's forward twice; most of that time goes into the frozen
Linears and attention, whose results are few numbers. The rest (norms, modulation, rotation, activation, the LoRA's narrow products) is many
tensors that are computed quickly. None of this changes the results.
"""

from functools import partial
from typing import Any

import psutil
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts

MIN_OFFLOADED_BYTES = 1 << 20  # smaller tensors are not worth a transfer
SHARE_OF_MEMORY = 0.25
WORTH_KEEPING = 64  # multiply-adds per number of a product: a LoRA's rank is below, a model's width far above

_aten = torch.ops.aten
_PRODUCTS = {_aten.mm.default: 0, _aten.addmm.default: 1, _aten.bmm.default: 0}  # the index of the left factor among the arguments
_ATTENTIONS = {
    _aten._scaled_dot_product_flash_attention_for_cpu.default, _aten._scaled_dot_product_flash_attention.default,
    _aten._scaled_dot_product_efficient_attention.default, _aten._scaled_dot_product_cudnn_attention.default,
}  # fmt: skip


class BlockCheckpointing:
    """Runs blocks under gradient checkpointing: the block runner of a model (library.models.family.BlockRunner).

    The results of all blocks' products are kept if they take at most `budget_bytes`. The compiler keeps them by itself, so compiled blocks
    are called directly then.
    """

    def __init__(self, *, budget_bytes: int = 0, is_compiled: bool = False) -> None:
        self.budget_bytes, self.is_compiled = budget_bytes, is_compiled

    def __call__(self, block: nn.Module, *args: Any, product_bytes: int) -> Any:
        """Return block(*args), whose activations are computed again in the backward pass."""
        if product_bytes > self.budget_bytes:
            return checkpoint(block, *args, use_reentrant=False)
        if self.is_compiled:
            return block(*args)
        return checkpoint(block, *args, use_reentrant=False, context_fn=partial(create_selective_checkpoint_contexts, _policy))


def products_budget(device: torch.device) -> int:
    """Return how many bytes of products checkpointing may keep: a quarter of the free host memory, nothing on a GPU.

    Keeping them does not change the results by a bit, so a resumed training may decide differently. On a GPU, checkpointing is chosen to save
    memory; bench/trainer_gpu.py measures whether keeping them is worth it there.
    """
    return int(psutil.virtual_memory().available * SHARE_OF_MEMORY) if device.type == "cpu" else 0


def _policy(_context: object, op: object, *args: object, **_: object) -> CheckpointPolicy:
    if op in _ATTENTIONS:
        return CheckpointPolicy.MUST_SAVE
    if op in _PRODUCTS:
        left = args[_PRODUCTS[op]]
        if isinstance(left, Tensor) and left.shape[-1] >= WORTH_KEEPING and left.shape[0] >= WORTH_KEEPING:
            return CheckpointPolicy.MUST_SAVE
    return CheckpointPolicy.PREFER_RECOMPUTE


class HostActivations:
    """Moves what autograd saves for the backward pass to host memory; frozen weights and tensors below `min_bytes` stay where they are."""

    def __init__(self, model: nn.Module, min_bytes: int = MIN_OFFLOADED_BYTES) -> None:
        self._weights = {tensor.untyped_storage().data_ptr() for tensor in [*model.parameters(), *model.buffers()]}
        self._min_bytes = min_bytes

    def pack(self, tensor: Tensor) -> Any:
        """Return the tensor, or its device and its copy on the host."""
        if tensor.nbytes < self._min_bytes or tensor.untyped_storage().data_ptr() in self._weights:
            return tensor
        host = torch.empty_like(
            tensor, device="cpu", pin_memory=tensor.is_cuda
        )  # with the same strides, so that sums run in the same order
        return tensor.device, host.copy_(tensor)

    def unpack(self, kept: Any) -> Tensor:
        """Return the tensor of what `pack` returned."""
        if isinstance(kept, Tensor):
            return kept
        device, host = kept
        return host.to(device, non_blocking=True)


def keep_activations_on_host(model: nn.Module, host: HostActivations | None = None) -> None:
    """Move what autograd saves in a model's forward to host memory until the backward pass: kohya's --cpu_offload_checkpointing.

    Under gradient checkpointing that is each block's input.
    """
    forward, host = model.forward, host or HostActivations(model)

    def offloading(*args: Any, **kwargs: Any) -> Tensor:
        with saved_tensors_hooks(host.pack, host.unpack):
            return forward(*args, **kwargs)

    model.forward = offloading

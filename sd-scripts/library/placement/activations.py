"""Activations between the forward and the backward pass: recomputed (gradient checkpointing) or moved to host memory.

Selective checkpointing recomputes only what is cheap. Full checkpointing runs each block's forward twice and spends most of that time on the
frozen Linears and attention, whose outputs are small. Norms, modulation, rotary embedding, activation functions and the LoRA's low-rank
products make many tensors that are cheap to recompute. None of this changes the results.
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
MIN_PRODUCT_DIM = 64  # smallest inner dimension of a saved product: above a LoRA's rank, far below the model's width

_aten = torch.ops.aten
_PRODUCTS = {_aten.mm.default: 0, _aten.addmm.default: 1, _aten.bmm.default: 0}  # argument index of the left factor
_ATTENTIONS = {
    _aten._scaled_dot_product_flash_attention_for_cpu.default, _aten._scaled_dot_product_flash_attention.default,
    _aten._scaled_dot_product_efficient_attention.default, _aten._scaled_dot_product_cudnn_attention.default,
}  # fmt: skip


class BlockCheckpointing:
    """Runs blocks under gradient checkpointing; implements library.models.family.BlockRunner.

    Saves the matrix products of all blocks instead of recomputing them if they take at most `budget_bytes`. The compiler then chooses by
    itself what to save, so compiled blocks are called directly.
    """

    def __init__(self, *, budget_bytes: int = 0, is_compiled: bool = False) -> None:
        self.budget_bytes, self.is_compiled = budget_bytes, is_compiled

    def __call__(self, block: nn.Module, *args: Any, product_bytes: int) -> Any:
        """Return block(*args) and recompute its activations in the backward pass; `product_bytes` is the size of all blocks' products."""
        if product_bytes > self.budget_bytes:
            return checkpoint(block, *args, use_reentrant=False)
        if self.is_compiled:
            return block(*args)
        return checkpoint(block, *args, use_reentrant=False, context_fn=partial(create_selective_checkpoint_contexts, _policy))


def products_budget(device: torch.device) -> int:
    """Return how many bytes of matrix products checkpointing may save: a quarter of the available host memory on a CPU, 0 on a GPU.

    Saving them leaves the results bit-identical, so a resumed training may decide differently. On a GPU, users choose checkpointing to save
    memory; bench/trainer_gpu.py measures the cost there.
    """
    return int(psutil.virtual_memory().available * SHARE_OF_MEMORY) if device.type == "cpu" else 0


def _policy(_context: object, op: object, *args: object, **_: object) -> CheckpointPolicy:
    if op in _ATTENTIONS:
        return CheckpointPolicy.MUST_SAVE
    if op in _PRODUCTS:
        left = args[_PRODUCTS[op]]
        if isinstance(left, Tensor) and left.shape[-1] >= MIN_PRODUCT_DIM and left.shape[0] >= MIN_PRODUCT_DIM:
            return CheckpointPolicy.MUST_SAVE
    return CheckpointPolicy.PREFER_RECOMPUTE


class HostActivations:
    """Moves the tensors that autograd saves for the backward pass to host memory, except weights, buffers and those below `min_bytes`."""

    def __init__(self, model: nn.Module, min_bytes: int = MIN_OFFLOADED_BYTES) -> None:
        self._weights = {tensor.untyped_storage().data_ptr() for tensor in [*model.parameters(), *model.buffers()]}
        self._min_bytes = min_bytes

    def pack(self, tensor: Tensor) -> Tensor | tuple[torch.device, Tensor]:
        """Return the tensor itself, or its device and its host copy."""
        if tensor.nbytes < self._min_bytes or tensor.untyped_storage().data_ptr() in self._weights:
            return tensor
        host = torch.empty_like(tensor, device="cpu", pin_memory=tensor.is_cuda)  # keeps the strides, so sums keep their order
        return tensor.device, host.copy_(tensor)

    def unpack(self, packed: Tensor | tuple[torch.device, Tensor]) -> Tensor:
        """Return the tensor on its device, given the result of `pack`."""
        if isinstance(packed, Tensor):
            return packed
        device, host = packed
        return host.to(device, non_blocking=True)


def keep_activations_on_host(model: nn.Module, host: HostActivations | None = None) -> None:
    """Keep what autograd saves in a model's forward in host memory until the backward pass (kohya's --cpu_offload_checkpointing).

    Under gradient checkpointing, this is the input of each block.
    """
    forward, host = model.forward, host or HostActivations(model)

    def offloading(*args: Any, **kwargs: Any) -> Tensor:
        with saved_tensors_hooks(host.pack, host.unpack):
            out: Tensor = forward(*args, **kwargs)
        return out

    model.forward = offloading

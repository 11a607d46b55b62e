"""Block swapping: frozen blocks stay in host memory and are copied to the device when they run (kohya's --blocks_to_swap).

A separate stream copies the next block while the current one computes. Prefetching is only a prediction: a block that was not prefetched is
fetched on demand, so a wrong prediction costs time but cannot cause an error or a deadlock.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.func import functional_call

from library.placement.device_index import with_index

Tensors = dict[str, Tensor]
View = tuple[str, torch.Size, tuple[int, ...], int | torch.SymInt]  # of a swapped tensor: its name, and the view's size, strides and offset
WORKSPACE_BYTES = 1 << 30  # reserved for activations and the libraries' own buffers


class BlockTransfer(Protocol):
    """Copies the tensors of one block to the device and releases the copies."""

    def prepare(self, blocks: Iterable[nn.Module]) -> None:
        """Move the tensors of the blocks to the host memory that `start` copies from."""

    def start(self, host: Tensors) -> Any:
        """Start to copy tensors to the device and return a handle for `finish` and `drop`; does not wait for the copies."""

    def finish(self, pending: Any) -> Tensors:
        """Return the copies by name, ready to be computed with."""

    def drop(self, pending: Any) -> None:
        """Release the copies."""


@dataclass
class _Transfer:
    tensors: Tensors
    copied: torch.cuda.Event


class CudaBlockTransfer:
    """Copies blocks from pinned memory on a separate CUDA stream; a copy starts after the work on the dropped blocks is done."""

    def __init__(self, device: torch.device) -> None:
        self.device = with_index(device)
        self.stream = torch.cuda.Stream(self.device)
        self._released: list[torch.cuda.Event] = []

    def prepare(self, blocks: Iterable[nn.Module]) -> None:
        """Move the tensors of the blocks to pinned memory."""
        pin(blocks)

    def start(self, host: Tensors) -> _Transfer:
        """Start to copy on the separate stream; waits until the device has finished the work on all dropped blocks."""
        while self._released:
            self._released.pop().synchronize()
        with torch.cuda.stream(self.stream):
            tensors = {name: tensor.to(self.device, non_blocking=True) for name, tensor in host.items()}
        return _Transfer(tensors, self.stream.record_event())

    def finish(self, pending: _Transfer) -> Tensors:
        """Return the copies; the current stream waits for them, and their memory is not reused before its work is done."""
        current = torch.cuda.current_stream(self.device)
        current.wait_event(pending.copied)
        for tensor in pending.tensors.values():
            tensor.record_stream(current)
        return pending.tensors

    def drop(self, pending: _Transfer) -> None:
        """Release the copies; their memory is free after the work queued so far."""
        self._released.append(torch.cuda.current_stream(self.device).record_event())
        pending.tensors = {}


class BlockSwap:
    """The swapped blocks of a model, by their index in the order of the forward pass; at most two have copies on the device."""

    def __init__(self, blocks: list[nn.Module], transfer: BlockTransfer) -> None:
        self._hosts = [dict([*block.named_parameters(), *block.named_buffers()]) for block in blocks]
        self._transfer = transfer
        self._in_flight: dict[int, Any] = {}  # handles of BlockTransfer.start by block index
        self._last = -1
        self._predicted: int | None = None

    def fetch(self, index: int) -> Tensors:
        """Return the device copies of a block. Release all other copies, except those of the block that is predicted to be next."""
        self._predicted = self._predict_next(index)
        for other in [each for each in self._in_flight if each not in (index, self._predicted)]:
            self._transfer.drop(self._in_flight.pop(other))
        self._start(index)
        self._last = index
        return self._transfer.finish(self._in_flight[index])

    def prefetch(self) -> None:
        """Start to copy the block that is probably needed next; call it after the current block's work is queued."""
        if self._predicted is not None:
            self._start(self._predicted)

    def refetch(self, index: int) -> Tensors:
        """Return the device copies of a block during a backward pass, and start to copy the block before it."""
        with torch.enable_grad():  # _predict_next reads it, and autograd disables it in a backward pass
            self._last = max(self._last, index)
            tensors = self.fetch(index)
        self.prefetch()
        return tensors

    def _start(self, index: int) -> None:
        if index not in self._in_flight:
            self._in_flight[index] = self._transfer.start(self._hosts[index])

    def _predict_next(self, index: int) -> int | None:
        """Return the index of the block that is probably needed next: ascending in a forward pass, descending in a backward pass.

        After the last block, a backward pass follows if gradients are enabled, else the next forward pass.
        """
        count = len(self._hosts)
        if count == 1:
            return None
        if index == 0:
            return 1
        if index == count - 1:
            return index - 1 if torch.is_grad_enabled() else 0
        return index + 1 if index > self._last else index - 1

    def release(self) -> None:
        """Release all copies; the next fetch copies its block again."""
        while self._in_flight:
            self._transfer.drop(self._in_flight.popitem()[1])


def pin(blocks: Iterable[nn.Module]) -> None:
    """Move the tensors of the blocks to pinned host memory, which asynchronous copies to a GPU require."""
    for block in blocks:
        for tensor in [*block.parameters(), *block.buffers()]:
            tensor.data = tensor.data.pin_memory()


def fits(num_bytes: int, device: torch.device) -> bool:
    """Return True if `num_bytes` more fit on a device, with WORKSPACE_BYTES left free; always True for a CPU."""
    if device.type != "cuda":
        return True
    device = with_index(device)
    free, total = torch.cuda.mem_get_info(device)
    allowed = int(total * torch.cuda.get_per_process_memory_fraction(device)) - torch.cuda.memory_allocated(device)
    return num_bytes + WORKSPACE_BYTES <= min(free, allowed)


def swap_blocks(blocks: list[nn.Module], transfer: BlockTransfer, *, is_checkpointed: bool) -> BlockSwap:
    """Replace the forward of each block so that it computes with device copies of its tensors.

    With gradient checkpointing (`is_checkpointed`), a block's graph exists only while the block is recomputed, so it can keep the copies.
    Without it, the graphs of all blocks exist at once: they save references, and the backward pass fetches each block again.
    """
    swap = BlockSwap(blocks, transfer)
    for index, block in enumerate(blocks):
        block.forward = _swapped_forward(swap, index, block, is_checkpointed)
    return swap


def _swapped_forward(swap: BlockSwap, index: int, block: nn.Module, is_checkpointed: bool) -> Callable[..., Any]:
    caller = _Caller(block, block.forward)

    def forward(*args: Any, **kwargs: Any) -> Any:
        copies = swap.fetch(index)
        saves_references = torch.is_grad_enabled() and not is_checkpointed
        context: AbstractContextManager[None] = _save_references(swap, index, copies) if saves_references else nullcontext()
        with context:
            out = functional_call(caller, {f"block.{name}": tensor for name, tensor in copies.items()}, args, kwargs)
        swap.prefetch()
        return out

    return forward


class _Caller(nn.Module):
    """Wraps a block and calls its original forward, so that functional_call can replace the block's tensors for one call."""

    def __init__(self, block: nn.Module, forward: Callable[..., Any]) -> None:
        super().__init__()
        self.block = block
        self._forward = forward

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self._forward(*args, **kwargs)


@contextmanager
def _save_references(swap: BlockSwap, index: int, copies: Tensors) -> Iterator[None]:
    """Save a (name, view) reference instead of each swapped tensor; fetch the block again when backward needs it."""
    swapped = {tensor.untyped_storage().data_ptr(): (name, tensor.dtype) for name, tensor in copies.items() if tensor.numel()}

    def pack(tensor: Tensor) -> Tensor | View:
        name, dtype = swapped.get(tensor.untyped_storage().data_ptr(), (None, None))
        if name is None or tensor.dtype != dtype:
            return tensor
        return name, tensor.shape, tensor.stride(), tensor.storage_offset()

    def unpack(saved: Tensor | View) -> Tensor:
        if isinstance(saved, Tensor):
            return saved
        name, size, strides, offset = saved
        return swap.refetch(index)[name].as_strided(size, strides, offset)

    with saved_tensors_hooks(pack, unpack):
        yield

"""Blocks of the frozen transformer that live in host memory and visit the device when they are needed.

The next block is copied on a stream of its own while the present one computes. Whatever order blocks are asked for in, the one asked for is
fetched if it is not there: fetching ahead is only ever a guess, so a wrong one costs time and nothing can wait for what never comes.
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
WORKSPACE_BYTES = 1 << 30  # what activations and the libraries' own buffers may take


class BlockTransfer(Protocol):
    """How a block's tensors come to the device and go."""

    def prepare(self, blocks: Iterable[nn.Module]) -> None:
        """Move blocks to the host memory that copies start from."""

    def start(self, host: Tensors) -> Any:
        """Begin to copy tensors to the device; returns at once with what `finish` and `drop` are given."""

    def finish(self, visit: Any) -> Tensors:
        """Return the copies, from now on safe to compute with."""

    def drop(self, visit: Any) -> None:
        """Forget copies that nothing further will be computed with."""


@dataclass
class _Transfer:
    tensors: Tensors
    arrived: torch.cuda.Event
    left: torch.cuda.Event | None = None


class CudaBlockTransfer:
    """Copies from pinned memory on a stream of its own; before one begins, the blocks that were dropped have really been left."""

    def __init__(self, device: torch.device) -> None:
        self.device = with_index(device)
        self.stream = torch.cuda.Stream(self.device)
        self._leaving: list[torch.cuda.Event] = []

    def prepare(self, blocks: Iterable[nn.Module]) -> None:
        """Move blocks to pinned memory."""
        pin(blocks)

    def start(self, host: Tensors) -> _Transfer:
        """Copy beside the computation; waits, if it must, until the block before the last has been computed with."""
        while self._leaving:
            self._leaving.pop().synchronize()
        with torch.cuda.stream(self.stream):
            tensors = {name: tensor.to(self.device, non_blocking=True) for name, tensor in host.items()}
        return _Transfer(tensors, self.stream.record_event())

    def finish(self, visit: _Transfer) -> Tensors:
        """Let the computation wait for the copies, and the copies' memory for the computation."""
        current = torch.cuda.current_stream(self.device)
        current.wait_event(visit.arrived)
        for tensor in visit.tensors.values():
            tensor.record_stream(current)
        return visit.tensors

    def drop(self, visit: _Transfer) -> None:
        """Let go of the copies; their memory is free once the computation is past this point."""
        self._leaving.append(torch.cuda.current_stream(self.device).record_event())
        visit.tensors = {}


class BlockSwap:
    """The swapped blocks of a model, by their index in the order of the forward pass."""

    def __init__(self, blocks: list[nn.Module], mover: BlockTransfer) -> None:
        self._hosts = [dict([*block.named_parameters(), *block.named_buffers()]) for block in blocks]
        self._mover = mover
        self._visits: dict[int, Any] = {}  # in the order in which they began to be needed
        self._last, self._ahead = -1, None

    def fetch(self, index: int) -> Tensors:
        """Return the device's copies of a block; copies of blocks that are neither this one nor likely to be next are freed."""
        self._ahead = self._predict_next(index)
        for other in [each for each in self._visits if each not in (index, self._ahead)]:
            self._mover.drop(self._visits.pop(other))
        self._begin(index)
        self._last = index
        return self._mover.finish(self._visits[index])

    def prefetch(self) -> None:
        """Begin to fetch the block that is likely to come next; best called when the present one's work is on its way."""
        if self._ahead is not None:
            self._begin(self._ahead)

    def refetch(self, index: int) -> Tensors:
        """Return the copies of a block in the midst of a backward pass, and begin to fetch the one below it."""
        with torch.enable_grad():  # autograd runs its backward without
            self._last = max(self._last, index)
            tensors = self.fetch(index)
        self.prefetch()
        return tensors

    def _begin(self, index: int) -> None:
        if index not in self._visits:
            self._visits[index] = self._mover.start(self._hosts[index])

    def _predict_next(self, index: int) -> int | None:
        """Say which block comes next: up in a forward, down in a backward, and at either end what turns around there."""
        count = len(self._hosts)
        if count == 1:
            return None
        if index == 0:
            return 1
        if index == count - 1:
            return index - 1 if torch.is_grad_enabled() else 0
        return index + 1 if index > self._last else index - 1

    def release(self) -> None:
        """Let every copy go; the next fetch begins again."""
        while self._visits:
            self._mover.drop(self._visits.popitem()[1])


def pin(blocks: Iterable[nn.Module]) -> None:
    """Move blocks' tensors to pinned host memory, from which alone a GPU copies beside its work."""
    for block in blocks:
        for tensor in [*block.parameters(), *block.buffers()]:
            tensor.data = tensor.data.pin_memory()


def fits(num_bytes: int, device: torch.device) -> bool:
    """Return True if so much more fits on a device beside what is computed with it; a CPU holds everything in any case."""
    if device.type != "cuda":
        return True
    device = with_index(device)
    free, total = torch.cuda.mem_get_info(device)
    allowed = int(total * torch.cuda.get_per_process_memory_fraction(device)) - torch.cuda.memory_allocated(device)
    return num_bytes + WORKSPACE_BYTES <= min(free, allowed)


def swap_blocks(blocks: list[nn.Module], mover: BlockTransfer, *, is_checkpointed: bool) -> BlockSwap:
    """Make each block compute with the copies that `mover` brings.

    Under gradient checkpointing a block's graph lives only while that block is recomputed, and keeps its copies so long. Without it
    (`is_checkpointed` says which) the graph of all blocks lives at once, and holds a reference for fetching instead of the copies.
    """
    swap = BlockSwap(blocks, mover)
    for index, block in enumerate(blocks):
        block.forward = _swapped_forward(swap, index, block, is_checkpointed)
    return swap


def _swapped_forward(swap: BlockSwap, index: int, block: nn.Module, is_checkpointed: bool) -> Callable[..., Any]:
    caller = _Caller(block, block.forward)

    def forward(*args: Any, **kwargs: Any) -> Any:
        copies = swap.fetch(index)
        is_kept = torch.is_grad_enabled() and not is_checkpointed
        context: AbstractContextManager[None] = _saved_tensor_recipes(swap, index, copies) if is_kept else nullcontext()
        with context:
            out = functional_call(caller, {f"block.{name}": tensor for name, tensor in copies.items()}, args, kwargs)
        swap.prefetch()
        return out

    return forward


class _Caller(nn.Module):
    """A module around a block that calls the block's own forward, so that functional_call can lend it other weights."""

    def __init__(self, block: nn.Module, forward: Callable[..., Any]) -> None:
        super().__init__()
        self.block = block
        self._forward = forward

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self._forward(*args, **kwargs)


@contextmanager
def _saved_tensor_recipes(swap: BlockSwap, index: int, copies: Tensors) -> Iterator[None]:
    """Let autograd save, instead of a copy or a view of one, what is needed to fetch it again."""
    known = {tensor.untyped_storage().data_ptr(): (name, tensor.dtype) for name, tensor in copies.items() if tensor.numel()}

    def pack(tensor: Tensor) -> Any:
        name, dtype = known.get(tensor.untyped_storage().data_ptr(), (None, None))
        if name is None or tensor.dtype != dtype:
            return tensor
        return name, tensor.shape, tensor.stride(), tensor.storage_offset()

    def unpack(kept: Any) -> Tensor:
        if isinstance(kept, Tensor):
            return kept
        name, *layout = kept
        return swap.refetch(index)[name].as_strided(*layout)

    with saved_tensors_hooks(pack, unpack):
        yield

"""A model of PyTorch's CUDA caching allocator, without expandable segments: what it reserves for a trace of allocations and frees.

Sizes are rounded up to 512 bytes. Up to 1 MiB they come from segments of 2 MiB; up to 10 MiB from segments of 20 MiB; larger ones get a segment
of their own, rounded up to 2 MiB. The smallest free block that fits is taken and split, and free neighbors are merged.
"""

import bisect
from collections.abc import Iterable
from dataclasses import dataclass, field

MIB = 1 << 20
GRAIN = 512
Event = tuple[str, int, int]  # ("allocate" or "free", key of the storage, bytes)


@dataclass
class _Segment:
    pool: str
    sizes: dict[int, int] = field(default_factory=dict)  # offset -> size of the block there
    free: set[int] = field(default_factory=set)  # offsets of free blocks


class CachingAllocator:
    """The allocator's segments; `reserved` and `peak` are in bytes."""

    def __init__(self) -> None:
        self.reserved = self.peak = 0
        self._segments: list[_Segment] = []
        self._free: dict[str, list[tuple[int, int, int]]] = {"small": [], "large": []}  # sorted (size, segment, offset)
        self._used: dict[int, tuple[int, int]] = {}  # key -> (segment, offset)

    def allocate(self, key: int, num_bytes: int) -> None:
        """Give a storage a block."""
        size = max(GRAIN, round_up(num_bytes, GRAIN))
        pool = "small" if size <= MIB else "large"
        free = self._free[pool]
        position = bisect.bisect_left(free, (size, -1, -1))
        if position == len(free):
            self._reserve(pool, size)
            position = bisect.bisect_left(free, (size, -1, -1))
        block, index, offset = free.pop(position)
        segment = self._segments[index]
        segment.free.discard(offset)
        rest = block - size
        if rest >= GRAIN if pool == "small" else rest > MIB:
            segment.sizes[offset] = size
            self._add_free(index, offset + size, rest)
        self._used[key] = index, offset

    def release(self, key: int) -> None:
        """Take a storage's block back."""
        index, offset = self._used.pop(key)
        segment = self._segments[index]
        size = segment.sizes[offset]
        if offset + size in segment.free:
            size += self._take_free(index, offset + size)
        left = next((other for other in segment.free if other + segment.sizes[other] == offset), None)
        if left is not None:
            del segment.sizes[offset]
            size, offset = size + self._take_free(index, left), left
        self._add_free(index, offset, size)

    def _reserve(self, pool: str, size: int) -> None:
        if pool == "small":
            num_bytes = 2 * MIB
        else:
            num_bytes = 20 * MIB if size < 10 * MIB else round_up(size, 2 * MIB)
        self._segments.append(_Segment(pool))
        self._add_free(len(self._segments) - 1, 0, num_bytes)
        self.reserved += num_bytes
        self.peak = max(self.peak, self.reserved)

    def _add_free(self, index: int, offset: int, size: int) -> None:
        segment = self._segments[index]
        segment.sizes[offset] = size
        segment.free.add(offset)
        bisect.insort(self._free[segment.pool], (size, index, offset))

    def _take_free(self, index: int, offset: int) -> int:
        segment = self._segments[index]
        segment.free.remove(offset)
        size = segment.sizes.pop(offset)
        self._free[segment.pool].remove((size, index, offset))
        return size


def round_up(number: int, step: int) -> int:
    """Return the smallest multiple of `step` that is not less than `number`."""
    return -(-number // step) * step


def peak_reserved(trace: Iterable[Event]) -> int:
    """Return the most bytes that the allocator reserves during a trace."""
    allocator = CachingAllocator()
    for kind, key, num_bytes in trace:
        if kind == "allocate":
            allocator.allocate(key, num_bytes)
        else:
            allocator.release(key)
    return allocator.peak

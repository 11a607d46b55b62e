"""Records the operations on the fake device: how many, their bytes and FLOP, which memory is live, and what ran on a wrong device."""

import weakref
from collections import Counter
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from tests.gpu.fake_cuda.allocator import GRAIN, Event, round_up

_aten = torch.ops.aten
_PRODUCTS = {_aten.mm.default: (0, 1), _aten.addmm.default: (1, 2), _aten.bmm.default: (0, 1), _aten._scaled_mm.default: (0, 1)}
_ATTENTION = {_aten._scaled_dot_product_flash_attention.default, _aten._scaled_dot_product_efficient_attention.default}
_ATTENTION_BACKWARD = {
    _aten._scaled_dot_product_flash_attention_backward.default, _aten._scaled_dot_product_efficient_attention_backward.default,
}  # fmt: skip
_COPIES = {_aten._to_copy.default, _aten.copy_.default}
_NO_KERNEL = {
    "prim::device", "aten::empty", "aten::empty_strided", "aten::empty_like", "aten::new_empty", "aten::new_empty_strided", "aten::detach",
    "aten::alias", "aten::lift_fresh", "aten::_unsafe_view", "aten::_reshape_alias",
}  # fmt: skip


@dataclass
class Phase:
    """What one phase of a step did on the fake device."""

    kernels: int = 0
    num_bytes: int = 0
    flop: int = 0
    peak: int = 0
    by_name: Counter = field(default_factory=Counter)


class Ledger(TorchDispatchMode):
    """Records while it is active; `phase` names what is being done. All sizes are in bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.phase, self.phases = "set up", {"set up": Phase()}
        self.live = self.peak = 0
        self.trace: list[Event] = []
        self.misplaced: list[str] = []
        self._sizes: dict[int, int] = {}

    def enter(self, phase: str) -> None:
        """Begin a phase, whose peak starts with the memory that is live now."""
        self.phase = phase
        self.phases[phase] = Phase(peak=self.live)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Run an operation and record it."""
        out = func(*args, **(kwargs or {}))
        inputs, outputs = ([each for each in tree_flatten(values)[0] if isinstance(each, Tensor)] for values in ((args, kwargs or {}), out))
        for tensor in outputs:
            self._track(tensor)
        if self.phase != "set up":
            self._record(func, args, inputs, outputs)
        return out

    def _record(self, func, args: tuple, inputs: list[Tensor], outputs: list[Tensor]) -> None:
        devices = {tensor.device.type for tensor in inputs + outputs if tensor.dim()}
        if "cpu" in devices and func not in _COPIES and func.name().split(".")[0] not in _NO_KERNEL and not func.is_view:
            self.misplaced.append(f"{self.phase}: {func} on {sorted(devices)} {[tuple(tensor.shape) for tensor in inputs]}")
        if "cuda" not in devices or func.is_view or func.name().split(".")[0] in _NO_KERNEL:
            return
        phase = self.phases[self.phase]
        phase.kernels += 1
        phase.num_bytes += sum(tensor.numel() * tensor.element_size() for tensor in inputs + outputs)
        phase.by_name[func.name()] += 1
        phase.flop += flop(func, args)

    def _track(self, tensor: Tensor) -> None:
        if tensor.device.type != "cuda":
            return
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._sizes:
            return
        size = self._sizes[key] = round_up(storage.nbytes(), GRAIN)
        self.live += size
        self.trace.append(("allocate", key, size))
        weakref.finalize(storage, self._free, key)
        self.peak = max(self.peak, self.live)
        phase = self.phases[self.phase]
        phase.peak = max(phase.peak, self.live)

    def _free(self, key: int) -> None:
        size = self._sizes.pop(key)
        self.live -= size
        self.trace.append(("free", key, size))


def flop(func, args) -> int:
    """Return the FLOP of a matrix product or an attention; 0 for any other operation."""
    if func in _PRODUCTS:
        left, right = (args[position] for position in _PRODUCTS[func])
        return 2 * left.numel() * right.shape[-1]
    if func in _ATTENTION or func in _ATTENTION_BACKWARD:
        first, products = (0, 2) if func in _ATTENTION else (1, 5)
        q, k = args[first], args[first + 1]
        return products * 2 * q.numel() * k.shape[2]
    return 0

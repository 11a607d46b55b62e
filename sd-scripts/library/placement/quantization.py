"""Frozen layers whose weights are kept in 8 or 4 bits: float8 with scales, int8, and bitsandbytes' NF4.

Owns how a weight is stored, taken over from a file, and multiplied with. What is stored is made wide again at each use; autograd keeps the
small form only, and since the base is frozen its one gradient is that of the input.
Shape suffixes: N outputs, K inputs of a layer.
"""

from collections.abc import Callable, Iterable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from library.placement.float8_matmul import float8_linear
from library.weights.model_files import FLOAT8, ModelFiles, StoreTensor, dequantize

WIDE_AT_ONCE = 1 << 20  # numbers that are float32 at one moment while a weight is quantized
NF4_BLOCK = 64


class FrozenLinear(torch.autograd.Function):
    """x @ weight.T + bias with a weight made from `stored` again for the forward and for the input's gradient."""

    @staticmethod
    def forward(ctx, x: Tensor, bias: Tensor | None, dequantizer: Callable[..., Tensor], *stored: Tensor) -> Tensor:
        """(..., K) -> (..., N); only `stored` is kept for the backward."""
        ctx.dequantizer = dequantizer
        ctx.save_for_backward(*stored)
        return F.linear(x, dequantizer(*stored), bias)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        """(..., N) -> (..., K) for the input; nothing else is trained."""
        stored = ctx.saved_tensors  # to be asked for once: gradient checkpointing recomputes a block for the first asking
        return grad @ ctx.dequantizer(*stored), None, None, *(None for _ in stored)


class QuantizedLinear(nn.Linear):
    """A frozen Linear that computes in `dtype` and keeps its weight in another form; `kind` is the flag's word for it."""

    kind = ""

    def __init__(self, linear: nn.Linear, dtype: torch.dtype) -> None:
        super().__init__(linear.in_features, linear.out_features, bias=False, device="meta")
        self.bias, self.dtype = linear.bias, dtype

    def store_weight(self, weight: Tensor, scale: Tensor | None) -> None:
        """Store a weight (N, K) as it came from a file, float8 with its row scales (N, 1) or anything wide."""
        raise NotImplementedError

    def stored(self) -> tuple[Tensor, ...]:
        """Return the tensors that the weight is made of."""
        raise NotImplementedError

    def dequantizer(self) -> Callable[..., Tensor]:
        """Return the function from `stored` to the weight (N, K)."""
        raise NotImplementedError

    def dequantized_weight(self) -> Tensor:
        """Return the weight (N, K) in the precision of the arithmetic."""
        return self.dequantizer()(*self.stored())

    def forward(self, x: Tensor) -> Tensor:
        """(..., K) -> (..., N)."""
        bias = None if self.bias is None else self.bias.to(self.dtype)
        return FrozenLinear.apply(x.to(self.dtype), bias, self.dequantizer(), *self.stored())


class RowScaledLinear(QuantizedLinear):
    """A weight in a type of one byte, `storage`, with one float32 scale a row.

    The scale brings each row's largest weight to the type's largest number, so that small weights keep their digits.
    """

    storage: torch.dtype

    def store_weight(self, weight: Tensor, scale: Tensor | None) -> None:
        """Store a weight; float8 out of a file stays bit for bit what it was."""
        if weight.dtype in FLOAT8 and self.storage in FLOAT8:
            kept, rows = weight, torch.ones(len(weight), 1, device=weight.device) if scale is None else scale.contiguous()
        else:
            kept, rows = quantize_rows(dequantize(weight, scale, None), self.storage)
        self.weight = nn.Parameter(kept, requires_grad=False)
        self.register_buffer("weight_scale", rows, persistent=False)

    def stored(self) -> tuple[Tensor, ...]:
        """Return the bytes (N, K) and the scales (N, 1)."""
        return self.weight, self.weight_scale

    def dequantizer(self) -> Callable[..., Tensor]:
        """Return the multiplication of bytes with scales."""
        return partial(_scaled, dtype=self.dtype)


class Float8Linear(RowScaledLinear):
    """kohya's --fp8_base, with scales; multiplied in float8 itself where `multiplies_in_float8` is set."""

    kind, storage = "fp8", torch.float8_e4m3fn
    multiplies_in_float8 = False

    def forward(self, x: Tensor) -> Tensor:
        """(..., K) -> (..., N)."""
        if self.multiplies_in_float8:
            return float8_linear(x.to(self.dtype), self.weight, self.weight_scale, self.bias)
        return super().forward(x)


class Int8Linear(RowScaledLinear):
    """Whole numbers from -127 to 127, as bitsandbytes' LLM.int8 stores weights."""

    kind, storage = "int8", torch.int8


class NF4Linear(QuantizedLinear):
    """bitsandbytes' NF4: 4 bits a weight, one float32 scale for 64 of them."""

    kind = "nf4"

    def store_weight(self, weight: Tensor, scale: Tensor | None) -> None:
        """Store a weight in 4 bits."""
        from bitsandbytes.functional import quantize_4bit  # takes a second to import, and few trainings need it

        packed, state = quantize_4bit(dequantize(weight, scale, self.dtype).contiguous(), blocksize=NF4_BLOCK, quant_type="nf4")
        self.weight = nn.Parameter(packed, requires_grad=False)
        self.register_buffer("absmax", state.absmax, persistent=False)

    def stored(self) -> tuple[Tensor, ...]:
        """Return the packed bytes (N * K / 2, 1) and the scales (N * K / 64,)."""
        return self.weight, self.absmax

    def dequantizer(self) -> Callable[..., Tensor]:
        """Return bitsandbytes' dequantisation."""
        return partial(_from_nf4, shape=(self.out_features, self.in_features), dtype=self.dtype)


KINDS = {each.kind: each for each in (Float8Linear, Int8Linear, NF4Linear)}


def quantize_rows(weight_NK: Tensor, storage: torch.dtype) -> tuple[Tensor, Tensor]:
    """(N, K) -> (N, K) in `storage` and (N, 1) float32, whose product is the weight but for rounding; some rows at a time are float32."""
    info = torch.iinfo(storage) if storage == torch.int8 else torch.finfo(storage)
    kept = torch.empty_like(weight_NK, dtype=storage)
    scales = torch.empty(len(weight_NK), 1, device=weight_NK.device)
    step = max(1, WIDE_AT_ONCE // weight_NK.shape[1])
    for some in (slice(start, start + step) for start in range(0, len(weight_NK), step)):
        rows = weight_NK[some].to(torch.float32, copy=True)
        scales[some] = torch.maximum(rows.amax(1, keepdim=True), -rows.amin(1, keepdim=True)).clamp(min=1e-12) / info.max
        rows.div_(scales[some])
        kept[some] = rows.round_() if storage == torch.int8 else rows
    return kept, scales


def _scaled(kept: Tensor, scales: Tensor, *, dtype: torch.dtype) -> Tensor:
    return kept.to(dtype).mul_(scales)


def _from_nf4(packed: Tensor, absmax: Tensor, *, shape: tuple[int, int], dtype: torch.dtype) -> Tensor:
    from bitsandbytes.functional import QuantState, dequantize_4bit

    state = QuantState(absmax=absmax, shape=torch.Size(shape), blocksize=NF4_BLOCK, quant_type="nf4", dtype=dtype)
    return dequantize_4bit(packed, state)


def quantize_blocks(blocks: Iterable[nn.Module], kind: str, dtype: torch.dtype) -> list[QuantizedLinear]:
    """Replace every Linear of the blocks by a layer of `kind`, an empty one by an empty one; return the new layers.

    Norms, biases and everything outside the blocks stay as they are.
    """
    made = []
    for block in blocks:
        for path, linear in [(path, each) for path, each in block.named_modules() if isinstance(each, nn.Linear)]:
            layer = KINDS[kind](linear, dtype)
            if not linear.weight.is_meta:
                layer.store_weight(linear.weight.data, None)
            owner, _, name = path.rpartition(".")
            setattr(block.get_submodule(owner), name, layer)
            made.append(layer)
    return made


def dequantize_blocks(blocks: Iterable[nn.Module]) -> None:
    """Replace quantized layers by Linears with the rounded weights.

    The numbers stay the same, but memory is no longer saved: a CPU takes longer to dequantize a weight at each use than to multiply with it.
    """
    for block in blocks:
        for path, layer in [(path, each) for path, each in block.named_modules() if isinstance(each, QuantizedLinear)]:
            linear = nn.Linear(layer.in_features, layer.out_features, bias=False, device="meta")
            linear.weight, linear.bias = nn.Parameter(layer.dequantized_weight(), requires_grad=False), layer.bias
            owner, _, name = path.rpartition(".")
            setattr(block.get_submodule(owner), name, linear)


def quantized_store(work_device: torch.device, device_of: Callable[[str], torch.device]) -> StoreTensor:
    """Return how a file's tensors are stored in quantized layers: quantized on `work_device`, kept where `device_of` their name says."""

    def store(module: nn.Module, name: str, file: ModelFiles) -> bool:
        layer = module.get_submodule(name.rpartition(".")[0])
        if not isinstance(layer, QuantizedLinear) or not name.endswith(".weight"):
            return False
        weight, scale = file.raw(name)
        moved = weight.to(work_device)
        file.check_finite(name, moved)
        layer.store_weight(moved, None if scale is None else scale.to(work_device))
        layer._apply(lambda tensor: tensor if tensor.is_meta else tensor.to(device_of(name)))
        if layer.weight.untyped_storage().data_ptr() != weight.untyped_storage().data_ptr():
            file.release(name)
        return True

    return store

"""Frozen Linears with weights quantized to 8 or 4 bits: float8 with scales, int8, and bitsandbytes' NF4.

Weights are dequantized at each use. Autograd saves only the quantized form; since the weights are frozen, only the input gets a gradient.
Shape suffixes: N outputs, K inputs of a layer.
"""

from collections.abc import Callable, Iterable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from library.placement.float8_matmul import float8_linear
from library.weights.model_files import FLOAT8, ModelFiles, StoreTensor, dequantize

CHUNK_ELEMENTS = 1 << 20  # elements that are in float32 at once while a weight is quantized
NF4_BLOCK = 64


class _Context(FunctionCtx):
    """What FrozenLinear's forward pass leaves for its backward pass."""

    dequantizer: Callable[..., Tensor]
    saved_tensors: tuple[Tensor, ...]


class FrozenLinear(torch.autograd.Function):
    """Computes x @ weight.T + bias, with the weight dequantized from `stored` in the forward and again in the backward pass."""

    @staticmethod
    def forward(ctx: _Context, x: Tensor, bias: Tensor | None, dequantizer: Callable[..., Tensor], *stored: Tensor) -> Tensor:
        """Return the output: (..., K) -> (..., N); saves only `stored` for the backward pass."""
        ctx.dequantizer = dequantizer
        ctx.save_for_backward(*stored)
        return F.linear(x, dequantizer(*stored), bias)

    @staticmethod
    def backward(ctx: _Context, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Return the input's gradient: (..., N) -> (..., K); no other argument has one."""
        stored = ctx.saved_tensors  # read once: with gradient checkpointing, the first read recomputes the block
        return grad @ ctx.dequantizer(*stored), None, None, *(None for _ in stored)


class QuantizedLinear(nn.Linear):
    """A frozen Linear that stores a quantized weight and computes in `dtype`; `kind` is its value of --base_quantization."""

    kind = ""
    multiplies_in_float8 = False  # only Float8Linear can

    def __init__(self, linear: nn.Linear, dtype: torch.dtype) -> None:
        super().__init__(linear.in_features, linear.out_features, bias=False, device="meta")
        self.bias, self.dtype = linear.bias, dtype

    def store_weight(self, weight: Tensor, scale: Tensor | None) -> None:
        """Quantize and store a weight (N, K): float8 with row scales (N, 1), or any wider type with `scale` None."""
        raise NotImplementedError

    def stored(self) -> tuple[Tensor, ...]:
        """Return the stored tensors that `dequantizer` takes."""
        raise NotImplementedError

    def dequantizer(self) -> Callable[..., Tensor]:
        """Return the function that makes the weight (N, K) from the tensors of `stored`."""
        raise NotImplementedError

    def dequantized_weight(self) -> Tensor:
        """Return the weight (N, K) in `dtype`."""
        return self.dequantizer()(*self.stored())

    def forward(self, x: Tensor) -> Tensor:
        """Return x @ weight.T + bias: (..., K) -> (..., N)."""
        bias = None if self.bias is None else self.bias.to(self.dtype)
        out: Tensor = FrozenLinear.apply(  # type: ignore[no-untyped-call]  # torch does not annotate apply
            x.to(self.dtype), bias, self.dequantizer(), *self.stored()
        )
        return out


class RowScaledLinear(QuantizedLinear):
    """A weight in the one-byte type `storage`, with one float32 scale per row.

    The scale maps the largest weight of each row to the type's maximum.
    """

    storage: torch.dtype
    weight_scale: Tensor

    def store_weight(self, weight: Tensor, scale: Tensor | None) -> None:
        """Quantize and store a weight; a float8 weight stays bit-identical in a float8 layer."""
        if weight.dtype in FLOAT8 and self.storage in FLOAT8:
            quantized, scales = weight, torch.ones(len(weight), 1, device=weight.device) if scale is None else scale.contiguous()
        else:
            quantized, scales = quantize_rows(dequantize(weight, scale, None), self.storage)
        self.weight = nn.Parameter(quantized, requires_grad=False)
        self.register_buffer("weight_scale", scales, persistent=False)

    def stored(self) -> tuple[Tensor, ...]:
        """Return the quantized weight (N, K) and its scales (N, 1)."""
        return self.weight, self.weight_scale

    def dequantizer(self) -> Callable[..., Tensor]:
        """Return the multiplication of the quantized weight by its scales."""
        return partial(_scaled, dtype=self.dtype)


class Float8Linear(RowScaledLinear):
    """A float8 weight with row scales (kohya's --fp8_base); uses float8 products if `multiplies_in_float8` is set."""

    kind, storage = "fp8", torch.float8_e4m3fn

    def forward(self, x: Tensor) -> Tensor:
        """Return x @ weight.T + bias: (..., K) -> (..., N)."""
        if self.multiplies_in_float8:
            return float8_linear(x.to(self.dtype), self.weight, self.weight_scale, self.bias)
        return super().forward(x)


class Int8Linear(RowScaledLinear):
    """An int8 weight from -127 to 127 with row scales, as in bitsandbytes' LLM.int8."""

    kind, storage = "int8", torch.int8


class NF4Linear(QuantizedLinear):
    """A weight in bitsandbytes' NF4: 4 bits per element, one float32 scale per 64 elements."""

    kind = "nf4"
    absmax: Tensor

    def store_weight(self, weight: Tensor, scale: Tensor | None) -> None:
        """Quantize a weight to NF4 and store it."""
        from bitsandbytes.functional import quantize_4bit  # the import takes a second, and few trainings need it

        packed, state = quantize_4bit(dequantize(weight, scale, self.dtype).contiguous(), blocksize=NF4_BLOCK, quant_type="nf4")
        self.weight = nn.Parameter(packed, requires_grad=False)
        self.register_buffer("absmax", state.absmax, persistent=False)

    def stored(self) -> tuple[Tensor, ...]:
        """Return the packed bytes (N * K / 2, 1) and the scales (N * K / 64,)."""
        return self.weight, self.absmax

    def dequantizer(self) -> Callable[..., Tensor]:
        """Return bitsandbytes' dequantization."""
        return partial(_from_nf4, shape=(self.out_features, self.in_features), dtype=self.dtype)


QUANTIZED_LAYERS = {each.kind: each for each in (Float8Linear, Int8Linear, NF4Linear)}


def quantize_rows(weight_NK: Tensor, storage: torch.dtype) -> tuple[Tensor, Tensor]:
    """Quantize by row: (N, K) -> (N, K) in `storage` and (N, 1) float32 scales; their product is the rounded weight."""
    info = torch.iinfo(storage) if storage == torch.int8 else torch.finfo(storage)
    quantized = torch.empty_like(weight_NK, dtype=storage)
    scales = torch.empty(len(weight_NK), 1, device=weight_NK.device)
    step = max(1, CHUNK_ELEMENTS // weight_NK.shape[1])
    for chunk in (slice(start, start + step) for start in range(0, len(weight_NK), step)):
        rows = weight_NK[chunk].to(torch.float32, copy=True)
        scales[chunk] = torch.maximum(rows.amax(1, keepdim=True), -rows.amin(1, keepdim=True)).clamp(min=1e-12) / info.max
        rows.div_(scales[chunk])
        quantized[chunk] = rows.round_() if storage == torch.int8 else rows
    return quantized, scales


def _scaled(quantized: Tensor, scales: Tensor, *, dtype: torch.dtype) -> Tensor:
    return quantized.to(dtype).mul_(scales)


def _from_nf4(packed: Tensor, absmax: Tensor, *, shape: tuple[int, int], dtype: torch.dtype) -> Tensor:
    from bitsandbytes.functional import QuantState, dequantize_4bit

    state = QuantState(absmax=absmax, shape=torch.Size(shape), blocksize=NF4_BLOCK, quant_type="nf4", dtype=dtype)
    return dequantize_4bit(packed, state)


def quantize_blocks(blocks: Iterable[nn.Module], kind: str, dtype: torch.dtype) -> list[QuantizedLinear]:
    """Replace each Linear of the blocks by a quantized layer of `kind`, and return the new layers.

    A Linear on the meta device becomes an empty layer. Norms, biases and everything outside the blocks stay unchanged.
    """
    made: list[QuantizedLinear] = []
    for block in blocks:
        for path, linear in [(path, each) for path, each in block.named_modules() if isinstance(each, nn.Linear)]:
            layer = QUANTIZED_LAYERS[kind](linear, dtype)
            if not linear.weight.is_meta:
                layer.store_weight(linear.weight.data, None)
            owner, _, name = path.rpartition(".")
            setattr(block.get_submodule(owner), name, layer)
            made.append(layer)
    return made


def dequantize_blocks(blocks: Iterable[nn.Module]) -> None:
    """Replace quantized layers by Linears with the dequantized weights.

    The results stay the same, but memory is no longer saved. For a CPU, where dequantizing a weight takes longer than multiplying with it.
    """
    for block in blocks:
        for path, layer in [(path, each) for path, each in block.named_modules() if isinstance(each, QuantizedLinear)]:
            linear = nn.Linear(layer.in_features, layer.out_features, bias=False, device="meta")
            linear.weight, linear.bias = nn.Parameter(layer.dequantized_weight(), requires_grad=False), layer.bias
            owner, _, name = path.rpartition(".")
            setattr(block.get_submodule(owner), name, linear)


def quantized_store(work_device: torch.device, device_of: Callable[[str], torch.device]) -> StoreTensor:
    """Return a function that fills quantized layers: it quantizes on `work_device` and stores a tensor on `device_of(name)`."""

    def store(module: nn.Module, name: str, file: ModelFiles) -> bool:
        layer = module.get_submodule(name.rpartition(".")[0])
        if not isinstance(layer, QuantizedLinear) or not name.endswith(".weight"):
            return False
        weight, scale = file.raw(name)
        moved = weight.to(work_device)
        file.check_finite(name, moved)
        layer.store_weight(moved, None if scale is None else scale.to(work_device))
        layer._apply(  # type: ignore[no-untyped-call]  # torch does not annotate _apply
            lambda tensor: tensor if tensor.is_meta else tensor.to(device_of(name))
        )
        if layer.weight.untyped_storage().data_ptr() != weight.untyped_storage().data_ptr():
            file.release(name)
        return True

    return store

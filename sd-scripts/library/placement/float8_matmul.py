"""Float8 matrix products for frozen layers, on GPUs of compute capability 8.9 and higher.

Input and weight are quantized by row, so each output element is one float8 product times two row scales. The backward pass computes only the
input's gradient; the weight's scales belong to its summed dimension, so they are multiplied into the gradient first.
Shape suffixes: M rows of the input, K inputs, N outputs of the layer.
"""

from typing import Any

import torch
from torch import Tensor

from library.placement.device_index import with_index

CAPABILITY = (8, 9)
FORWARD, BACKWARD = torch.float8_e4m3fn, torch.float8_e5m2  # gradients need range more than precision
ALIGNMENT = 16


def can_multiply(device: torch.device) -> bool:
    """Return True if the device has float8 matrix products."""
    return device.type == "cuda" and torch.cuda.get_device_capability(with_index(device)) >= CAPABILITY


def float8_linear(x: Tensor, weight_NK: Tensor, scale_N1: Tensor, bias: Tensor | None) -> Tensor:
    """Return x @ weight.T + bias by float8 products: (..., K) -> (..., N); weight (N, K) float8 with row scales (N, 1) float32."""
    rows = x.flatten(0, -2)
    out_MN = _Float8Linear.apply(rows, weight_NK, scale_N1, bias)  # type: ignore[no-untyped-call]  # torch does not annotate apply
    out: Tensor = out_MN.unflatten(0, x.shape[:-1])
    return out


class _Float8Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_MK: Tensor, weight_NK: Tensor, scale_N1: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(weight_NK, scale_N1)
        out = multiply(*round_rows(x_MK, FORWARD), weight_NK.t(), scale_N1.t(), x_MK.dtype)
        return out if bias is None else out + bias.to(out.dtype)

    @staticmethod
    def backward(ctx: Any, grad_MN: Tensor) -> tuple[Tensor | None, ...]:
        weight_NK, scale_N1 = ctx.saved_tensors
        scaled = grad_MN * scale_N1.t().to(grad_MN.dtype)
        columns = weight_NK.t().contiguous().t()  # _scaled_mm requires a column-major second matrix
        kind = FORWARD if weight_NK.dtype == BACKWARD else BACKWARD  # _scaled_mm does not support two e5m2 matrices
        ones = torch.ones(1, weight_NK.shape[1], device=grad_MN.device)
        return multiply(*round_rows(scaled, kind), columns, ones, grad_MN.dtype), None, None, None


def round_rows(rows: Tensor, kind: torch.dtype) -> tuple[Tensor, Tensor]:
    """Quantize by row: (M, K) -> (M, K) in the float8 type `kind` and (M, 1) float32 scales; their product is the rounded input."""
    scale = rows.abs().amax(1, keepdim=True).float().clamp(min=1e-12) / torch.finfo(kind).max
    return (rows / scale).to(kind), scale


def multiply(a_MK: Tensor, scale_M1: Tensor, b_KN: Tensor, scale_1N: Tensor, dtype: torch.dtype) -> Tensor:
    """Return (a * scale_M1) @ (b * scale_1N) in `dtype`, by the GPU's float8 product if it supports these shapes, else in float32."""
    K = a_MK.shape[1]
    if not can_multiply(a_MK.device) or K % ALIGNMENT or b_KN.shape[1] % ALIGNMENT:
        return ((a_MK.float() @ b_KN.float()) * scale_M1 * scale_1N).to(dtype)
    return torch._scaled_mm(a_MK, b_KN, scale_a=scale_M1, scale_b=scale_1N.contiguous(), out_dtype=dtype)

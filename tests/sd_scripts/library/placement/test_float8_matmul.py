"""Float8 products equal their definition: rows rounded with a scale each; the backward is the input's gradient within float8's rounding."""

import pytest
import torch
import torch.nn.functional as F

from library.placement.float8_matmul import can_multiply, float8_linear, round_rows
from library.placement.quantization import quantize_rows

needs_gpu = pytest.mark.skipif(
    not (torch.cuda.is_available() and can_multiply(torch.device("cuda"))), reason="needs an NVIDIA GPU that multiplies float8 (8.9 and up)"
)
DEVICES = ["cpu", pytest.param("cuda", marks=needs_gpu)]


def test_cpu_does_not_support_float8_matmul():
    assert not can_multiply(torch.device("cpu"))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("shape", [(2, 7, 64), (3, 64)])
def test_forward_and_backward_are_close_to_wide_product(device, shape):
    torch.manual_seed(0)
    weight, x = torch.randn(48, 64, device=device), torch.randn(shape, device=device, requires_grad=True)
    bias, kept = torch.randn(48, device=device), quantize_rows(weight, torch.float8_e4m3fn)
    out = float8_linear(x.bfloat16(), *kept, bias)
    wide = kept[0].float() * kept[1]
    y = x.detach().requires_grad_()
    expected = F.linear(y, wide, bias)
    direction = torch.randn_like(expected)
    (out.float() * direction).sum().backward()
    (expected * direction).sum().backward()
    assert out.dtype == torch.bfloat16
    assert (out - expected).norm() < 0.05 * expected.norm()
    assert (x.grad - y.grad).norm() < 0.1 * y.grad.norm()


def test_rounded_numbers_are_multiplied_exactly():
    """Rows that float8 has exactly lose nothing, so that only the definition is left: (a * scales) @ (b * scales)."""
    x = torch.tensor([[448.0, 32.0, -0.5, 4.0] * 4, [2.0, 1.0, 0.25, -448.0] * 4], dtype=torch.float32)
    weight = torch.tensor([[1.0, 0.5, 2.0, -4.0] * 4]).to(torch.float8_e4m3fn)
    out = float8_linear(x, weight, torch.tensor([[0.5]]), None)
    assert torch.equal(out, (x.double() @ weight.double().t() * 0.5).float())


def test_each_row_has_separate_scale():
    rows = torch.randn(4, 32) * torch.tensor([1e-6, 1.0, 1e3, 0.0])[:, None]
    small, scale = round_rows(rows, torch.float8_e4m3fn)
    error = (small.float() * scale - rows).norm(dim=1)
    assert (error <= 0.04 * rows.norm(dim=1)).all()

"""Stages that time single kernels: products, attention, copies, launches, optimizers."""

from pathlib import Path

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from bench.first_day_stages.common import BF16, DEVICE, HAS_GPU, SHAPES, attempt, make_training, record, timed

TOKENS = 1536 if HAS_GPU else 64
LAYERS = {  # name: (outputs, inputs) in multiples of the width
    "qkv": (3, 1), "mlp up": (4, 1), "mlp down": (1, 4), "single linear1": (7, 1), "single linear2": (1, 5), "modulation, 1 row": (6, 1),
}  # fmt: skip


def micro(_work: Path) -> None:
    """Time the kernels of which a step consists."""
    for name, (outputs, inputs) in LAYERS.items():
        rows = 1 if "1 row" in name else TOKENS
        attempt(
            "micro", f"{name}: us", lambda rows=rows, n=outputs, k=inputs: _products(rows, n * SHAPES.hidden_size, k * SHAPES.hidden_size)
        )
    for tokens in (1536, 4608) if HAS_GPU else (64,):
        for backend in (SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION, SDPBackend.EFFICIENT_ATTENTION):
            what = f"attention {backend.name}, {tokens} tokens, forward and backward: us"
            attempt("micro", what, lambda tokens=tokens, backend=backend: _attention(tokens, backend))
    if HAS_GPU:
        attempt("micro", "copies of 128 MiB: GB/s", _copies)
        counter = torch.zeros(8, device=DEVICE)
        launches = timed(lambda: [counter.add_(1) for _ in range(100)])
        record("micro", "one launch on the host: us", found=round(launches["host_s"] * 1e4, 2))


def _products(rows: int, outputs: int, inputs: int) -> dict[str, int]:
    x, weight = torch.randn(rows, inputs, device=DEVICE, dtype=BF16), torch.randn(outputs, inputs, device=DEVICE, dtype=BF16)
    grad, float8 = torch.randn(rows, outputs, device=DEVICE, dtype=BF16), weight.to(torch.float8_e4m3fn)
    scale = torch.ones(outputs, 1, device=DEVICE)
    actions = {
        "bf16_forward": lambda: x @ weight.t(),
        "bf16_backward": lambda: grad @ weight,
        "dequantize_two_passes": lambda: float8.to(BF16).mul_(scale),
        "dequantize_cast_only": lambda: float8.to(BF16),
    }
    if HAS_GPU and torch.cuda.get_device_capability(DEVICE) >= (8, 9):
        actions |= _float8_products(x, float8)
    if HAS_GPU and rows > 16:
        left, right = (torch.ones(tensor.shape, device=DEVICE, dtype=torch.int8) for tensor in (x, weight))
        actions["int8"] = lambda: torch._int_mm(left, right.t())
    return {name: round(timed(action)["s"] * 1e6) for name, action in actions.items()}


def _float8_products(x: Tensor, weight: Tensor) -> dict[str, object]:
    rounded, one = x.to(torch.float8_e4m3fn), torch.ones((), device=DEVICE)
    per_row, per_column = torch.ones(len(x), 1, device=DEVICE), torch.ones(1, len(weight), device=DEVICE)

    def multiply(scale_a: Tensor, scale_b: Tensor) -> Tensor:
        return torch._scaled_mm(rounded, weight.t(), scale_a=scale_a, scale_b=scale_b, out_dtype=BF16)

    return {
        "fp8_tensorwise": lambda: multiply(one, one),
        "fp8_rowwise": lambda: multiply(per_row, per_column),
        "fp8_transpose_of_weight": lambda: weight.t().contiguous(),
    }


def _attention(tokens: int, backend: SDPBackend) -> int:
    shape = (1, SHAPES.num_heads, tokens, SHAPES.hidden_size // SHAPES.num_heads)
    q, k, v = (torch.randn(shape, device=DEVICE, dtype=BF16, requires_grad=True) for _ in range(3))
    grad = torch.randn(shape, device=DEVICE, dtype=BF16)

    def forward_and_backward() -> None:
        with sdpa_kernel([backend]):
            torch.nn.functional.scaled_dot_product_attention(q, k, v).backward(grad)

    return round(timed(forward_and_backward)["s"] * 1e6)


def _copies() -> dict[str, float]:
    num_bytes = 128 << 20
    pageable = torch.empty(num_bytes, dtype=torch.uint8)
    pinned, device = pageable.pin_memory(), torch.empty(num_bytes, dtype=torch.uint8, device=DEVICE)
    actions = {
        "pinned_to_gpu": lambda: device.copy_(pinned, non_blocking=True),
        "pageable_to_gpu": lambda: device.copy_(pageable),
        "gpu_to_pinned": lambda: pinned.copy_(device, non_blocking=True),
        "on_gpu_read_and_write": lambda: device.clone(),
    }
    return {name: round((1 + name.startswith("on")) * num_bytes / timed(action)["s"] / 1e9, 1) for name, action in actions.items()}


def optimizers(_work: Path) -> None:
    """Time one step of each optimizer over a LoRA of rank 16."""
    from transformers.optimization import Adafactor

    _, network = make_training([])
    parameters = list(network.parameters())
    makers = {
        "Adafactor": lambda: Adafactor(parameters, lr=1e-4, relative_step=False, scale_parameter=False, warmup_init=False),
        "AdamW fused": lambda: torch.optim.AdamW(parameters, lr=1e-4, fused=True),
        "AdamW foreach": lambda: torch.optim.AdamW(parameters, lr=1e-4, foreach=True),
        "AdamW8bit": _adamw8bit(parameters),
    }
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter)
    for name, make in makers.items():
        attempt("optimizers", f"{name}, {len(parameters)} tensors", lambda make=make: timed(make().step, repeats=5, warm_up=2))


def _adamw8bit(parameters: list[torch.nn.Parameter]):
    def make() -> torch.optim.Optimizer:
        import bitsandbytes

        return bitsandbytes.optim.AdamW8bit(parameters, lr=1e-4)

    return make

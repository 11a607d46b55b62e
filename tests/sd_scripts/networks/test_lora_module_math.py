"""The fused LoRA product equals its formula in float64, gradients too, and rounds no worse than the formula's own bfloat16."""

import pytest
import torch

from networks.lora_module import add_lora


def factors(dtype=torch.float64):
    random = torch.Generator().manual_seed(3)
    shapes = {"out": (2, 5, 12), "x": (2, 5, 8), "down": (3, 8), "up": (12, 3)}
    return {name: torch.randn(shape, generator=random, dtype=torch.float64).to(dtype) for name, shape in shapes.items()}


def fused(out, x, down, up, scale):
    return add_lora(out, x, (down, up), scale)


def formula(out, x, down, up, scale):
    return out + scale * (x @ down.t()) @ up.t()


def test_value_and_gradients_equal_formula():
    tensors = {name: tensor.requires_grad_() for name, tensor in factors().items()}
    ours, plain = fused(**tensors, scale=0.25), formula(**tensors, scale=0.25)
    assert torch.allclose(ours, plain)
    weights = torch.randn(ours.shape, dtype=torch.float64)
    gradients = [torch.autograd.grad((result * weights).sum(), tuple(tensors.values())) for result in (ours, plain)]
    assert all(torch.allclose(a, b) for a, b in zip(*gradients, strict=True))


@pytest.mark.parametrize("autocast", [True, False])
def test_bfloat16_stays_within_its_rounding(autocast):
    exact, rounded = factors(), factors(torch.bfloat16)
    weights = {name: factors(torch.float32)[name] for name in ("down", "up")}  # as they are trained
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        ours = fused(rounded["out"], rounded["x"], **weights, scale=0.25)
    assert ours.dtype == torch.bfloat16
    assert (ours.double() - formula(**exact, scale=0.25)).abs().max() < 0.05

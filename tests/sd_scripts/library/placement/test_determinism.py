"""--deterministic asks torch for kernels that repeat their bits. What that costs on a GPU is measured there; a CPU needs nothing of it."""

import os

import pytest
import torch

from library.placement.determinism import compute_deterministically


@pytest.fixture(autouse=True)
def fixture_restore(monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    before = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    yield
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = before


def test_torch_is_configured_before_gpu_is_used():
    compute_deterministically()
    assert torch.are_deterministic_algorithms_enabled()
    assert torch.backends.cudnn.deterministic
    assert not torch.backends.cudnn.benchmark
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU: a CPU repeats its bits in any case")
def test_gpu_results_are_bit_identical():
    compute_deterministically()

    def gradient():
        torch.manual_seed(0)
        q, k, v = (torch.randn(1, 8, 1024, 64, device="cuda", dtype=torch.bfloat16, requires_grad=True) for _ in range(3))
        torch.nn.functional.scaled_dot_product_attention(q, k, v).square().sum().backward()
        return k.grad

    assert torch.equal(gradient(), gradient())

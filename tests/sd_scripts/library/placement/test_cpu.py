"""A CPU computes in bfloat16 only where its processor multiplies it fast."""

import pytest
import torch

from library.config import MixedPrecision, PlacementConfig
from library.placement import cpu
from library.placement.layout import compute_dtype

AVX512 = dict.fromkeys(cpu.X86_64_NEEDS, True)
BF16 = PlacementConfig(mixed_precision=MixedPrecision.BF16)
CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


@pytest.fixture
def processor(monkeypatch):
    """Return a function that sets what the processor can do."""

    def have(architecture, **capabilities):
        answer = {"architecture": architecture, **capabilities}
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: answer)

    return have


@pytest.mark.parametrize(
    ("architecture", "capabilities", "fast"),
    [
        ("x86_64", AVX512, True),
        ("x86_64", AVX512 | {"avx512_vl": False}, False),
        ("x86_64", dict.fromkeys(AVX512, False), False),
        ("aarch64", {"bf16": True}, True),
        ("aarch64", {}, False),
    ],
)
def test_bfloat16_is_used_where_processor_multiplies_it(processor, architecture, capabilities, fast):
    processor(architecture, **capabilities)
    dtype = torch.bfloat16 if fast else torch.float32
    assert compute_dtype(BF16, CPU) == dtype
    assert compute_dtype(BF16, GPU) == torch.bfloat16


def test_explicit_precisions_are_kept(processor):
    processor("x86_64", **dict.fromkeys(AVX512, False))
    assert compute_dtype(PlacementConfig(mixed_precision=MixedPrecision.BF16, full_bf16=True), CPU) == torch.bfloat16
    assert compute_dtype(PlacementConfig(), CPU) == torch.float32
    assert cpu.fast_dtype(torch.float16, CPU) == torch.float16


@pytest.mark.skipif(torch.cpu.get_capabilities()["architecture"] != "x86_64", reason="needs an x86-64 processor")
def test_pytorch_reports_capabilities_that_are_checked():
    assert set(cpu.X86_64_NEEDS) <= set(torch.cpu.get_capabilities())

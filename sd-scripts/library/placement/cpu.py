"""The precision in which a CPU computes: bfloat16 only where the processor has instructions that make it fast."""

import torch

# What oneDNN, PyTorch's library of CPU kernels, needs for its bfloat16 products on x86-64 (its instruction set avx512_core).
# Without them, one product of 512 x 512 matrices takes 40 times as long in bfloat16 as in float32 (AMD EPYC with AVX2, torch 2.13.0).
X86_64_NEEDS = ("avx512_f", "avx512_bw", "avx512_vl", "avx512_dq")


def multiplies_bfloat16() -> bool:
    """Return True if this CPU has fast products of bfloat16 matrices."""
    capabilities = torch.cpu.get_capabilities()
    if capabilities["architecture"] == "x86_64":
        return all(capabilities[name] for name in X86_64_NEEDS)
    return bool(capabilities.get("bf16", False))


def fast_dtype(dtype: torch.dtype, device: torch.device) -> torch.dtype:
    """Return float32 instead of bfloat16 if `device` is a CPU without fast bfloat16 products, else `dtype`."""
    if device.type == "cpu" and dtype == torch.bfloat16 and not multiplies_bfloat16():
        return torch.float32
    return dtype

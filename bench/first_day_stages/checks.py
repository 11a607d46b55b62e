"""Stages that find what is broken: the card, the calls that every training makes, float8 products, and the tests for a GPU."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import torch

from bench.first_day_stages.common import BF16, DEVICE, HAS_GPU, attempt, record, synchronize
from library.placement.block_swap import fits
from library.placement.float8_matmul import float8_linear, round_rows
from library.placement.layout import choose_device

MIB = 1 << 20


def facts(_work: Path) -> None:
    """Record the card, its free memory, and what the CUDA context takes."""
    record("facts", "versions", found={"torch": torch.__version__, "python": sys.version.split()[0], "cpus": os.cpu_count()})
    if not HAS_GPU:
        record("facts", "GPU", found="none")
        return
    free, total = torch.cuda.mem_get_info(DEVICE)
    name, capability = torch.cuda.get_device_name(DEVICE), torch.cuda.get_device_capability(DEVICE)
    record("facts", "GPU", found={"name": name, "capability": str(capability), "free_mib": free // MIB, "total_mib": total // MIB})
    attempt("facts", "driver", lambda: _output("nvidia-smi", "--query-gpu=driver_version,power.limit", "--format=csv,noheader"))
    square = torch.randn(4096, 4096, device=DEVICE, dtype=BF16)
    square @ square
    synchronize()
    outside = free - torch.cuda.mem_get_info(DEVICE)[0] - torch.cuda.memory_reserved(DEVICE)
    record("facts", "cuBLAS beside the allocator", found={"mib": outside // MIB})
    record("facts", "context and others at the start", found={"mib": (total - free) // MIB}, predicted={"mib": 512})


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()


def memory_calls(_work: Path) -> None:
    """Check the memory calls that each training makes while it loads, and that running out of memory is explained."""
    attempt("memory_calls", "fits(choose_device()), which every T5 load calls", lambda: fits(1 << 30, choose_device()))
    attempt(
        "memory_calls", "pinned memory: is it rounded up, is it given back", _pinned, predicted={"requested_mib": 320, "taken_mib": 512}
    )
    if HAS_GPU:
        attempt("memory_calls", "an out-of-memory error is explained", _out_of_memory)


def _pinned() -> dict[str, int]:
    process = psutil.Process()
    before = process.memory_info().rss
    held = [torch.empty(10240, 4096, dtype=BF16, pin_memory=HAS_GPU).fill_(1) for _ in range(4)]
    taken = process.memory_info().rss - before
    del held
    if HAS_GPU:
        torch.cuda.empty_cache()
    return {"requested_mib": 320, "taken_mib": taken // MIB, "kept_mib": (process.memory_info().rss - before) // MIB}


def _out_of_memory() -> object:
    from flux_train_network import explain

    try:
        torch.empty(1 << 42, device=DEVICE, dtype=torch.uint8)
    except Exception as error:  # noqa: BLE001 - which error it is, is the question
        return explain(error) or f"not explained: {error}"
    return "4 TiB were allocated"


def fp8_forms(_work: Path) -> None:
    """Compare float8 products of each weight type and shape of input with float32; relative errors."""
    weight = torch.randn(9216, 3072, device=DEVICE) * 0.02
    rows = torch.randn(256, 3072, device=DEVICE, dtype=BF16)
    strided = torch.randn(3072, 256, device=DEVICE, dtype=BF16).t()
    for kind in (torch.float8_e4m3fn, torch.float8_e5m2):
        kept, scale = round_rows(weight, kind)
        for name, x in (("256 rows", rows), ("1 row", rows[:1]), ("strided rows", strided)):
            attempt("fp8_forms", f"{kind} weight, {name}: relative errors", lambda x=x, kept=kept, scale=scale: _fp8_errors(x, kept, scale))


def _fp8_errors(x: torch.Tensor, kept: torch.Tensor, scale: torch.Tensor) -> dict[str, float]:
    x = x.detach().requires_grad_()
    out = float8_linear(x, kept, scale, None)
    grad = torch.randn_like(out)
    (grad_x,) = torch.autograd.grad(out, x, grad)
    exact = kept.float() * scale
    pairs = {"forward": (out, x.float() @ exact.t()), "backward": (grad_x, grad.float() @ exact)}
    return {name: ((ours.float() - right).norm() / right.norm()).item() for name, (ours, right) in pairs.items()}


def gpu_tests(_work: Path) -> None:
    """Run tests/gpu."""
    command = [sys.executable, "-m", "pytest", "--no-header", "-p", "no:cacheprovider", "tests/gpu"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.strip().splitlines() if line.startswith(("FAILED", "ERROR")) or " in " in line]
    result = (
        {"found": (lines or ["no summary"])[-1].strip("= ")}
        if done.returncode == 0
        else {"error": "; ".join(lines)[:300] or done.stdout[-300:]}
    )
    record("gpu_tests", "pytest tests/gpu", **result)

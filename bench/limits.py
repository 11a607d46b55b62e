"""The arithmetic limit of a training step: the operations of a step of "mini", and this machine's rate of bfloat16 matrix products.

Run as a program it prints both as JSON: `python -m bench.limits`. `measure` runs it in another process, so that the caller does not
import torch.
"""

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
WIDTH, TOKENS, MLP, CONTEXT, TEXT = 768, 1536, 3072, 4096, 512
NUM_DOUBLE, NUM_SINGLE = 2, 4
SHAPES = ((WIDTH, 3 * WIDTH), (WIDTH, WIDTH), (WIDTH, MLP), (MLP, WIDTH), (WIDTH, 3 * WIDTH + MLP), (WIDTH + MLP, WIDTH))


def forward_flop() -> dict[str, float]:
    """Return the floating point operations of one forward pass, in the blocks' Linears and in their attention.

    Per token, a block of either kind has 12 C^2 weights. Attention is two products of S x S x C. Modulations, LoRA, text encoder and
    everything that is not a matrix product are left out: together less than 3 % of the arithmetic.
    """
    weights = WIDTH * (4 * WIDTH + 2 * MLP)
    blocks = NUM_DOUBLE + NUM_SINGLE
    return {"linear": 2.0 * blocks * TOKENS * weights, "attention": 4.0 * blocks * TOKENS**2 * WIDTH}


def step_flop(*, recompute: bool) -> float:
    """Return the operations of a training step: the forward pass, its recomputation if `recompute`, and the gradients of the inputs.

    Frozen weights need no gradients. The backward pass of attention has five products, since it computes the probabilities again; the
    forward pass has two.
    """
    forward = forward_flop()
    passes = 2 if recompute else 1
    return forward["linear"] * (passes + 1) + forward["attention"] * (passes + 2.5)


def matmul_rate(repeats: int = 5) -> float:
    """Return this machine's bfloat16 operations per second for the shapes of the Linears at 1,536 tokens, by torch's Linear.

    The rate is the operations of all shapes divided by the seconds of one round over them; the median of the rounds counts.
    """
    import torch

    pairs = [(torch.randn(TOKENS, k).bfloat16(), torch.randn(n, k).bfloat16()) for k, n in SHAPES]
    flop = sum(2.0 * TOKENS * k * n for k, n in SHAPES)

    def once() -> float:
        began = time.perf_counter()
        for x, weight in pairs:
            torch.nn.functional.linear(x, weight)
        return flop / (time.perf_counter() - began)

    once()
    return statistics.median(once() for _ in range(repeats))


def measure() -> dict[str, float]:
    """Return what the program prints, from another process."""
    done = subprocess.run([sys.executable, "-m", "bench.limits"], cwd=ROOT, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


if __name__ == "__main__":
    print(json.dumps({"rate": matmul_rate(), "flop": step_flop(recompute=True), "flop_kept": step_flop(recompute=False)}))

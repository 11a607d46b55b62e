"""The limit beside the trainer's speed: how much arithmetic a step of "mini" is, and how fast this machine multiplies matrices in bfloat16.

Run as a program it prints both as JSON, so that who measures never holds torch: `python -m bench.limits`.
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
    """Return the floating point operations of one forward: of the blocks' Linears, and of their attention.

    Each token meets 12 C^2 weights in a block of either kind; attention is two products of S x S x C. Modulations, LoRA, text encoder and
    all that is not a product of matrices are left out: they come to less than 3 % of this work's arithmetic.
    """
    weights = WIDTH * (4 * WIDTH + 2 * MLP)
    blocks = NUM_DOUBLE + NUM_SINGLE
    return {"linear": 2.0 * blocks * TOKENS * weights, "attention": 4.0 * blocks * TOKENS**2 * WIDTH}


def step_flop(*, recompute: bool) -> float:
    """Return the operations of a training step: forward, (its recompute,) the gradients of inputs; frozen weights need none.

    Attention's backward is five products where its forward is two: the probabilities are made once more.
    """
    forward = forward_flop()
    passes = 2 if recompute else 1
    return forward["linear"] * (passes + 1) + forward["attention"] * (passes + 2.5)


def matmul_rate(repeats: int = 5) -> float:
    """Return this machine's bfloat16 operations per second over the Linears' own shapes at 1,536 tokens, by torch's Linear.

    Each shape counts as often as the step meets it by time: operations over seconds of one round; the median of the rounds.
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
    """Return what the program prints, from a process of its own."""
    done = subprocess.run([sys.executable, "-m", "bench.limits"], cwd=ROOT, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


if __name__ == "__main__":
    print(json.dumps({"rate": matmul_rate(), "flop": step_flop(recompute=True), "flop_kept": step_flop(recompute=False)}))

"""Linear algebra of low-rank pairs (down, up), which represent the matrix up @ down.

Shapes: down (R, in), up (out, R).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

DOWN, UP, ALPHA = "lora_down.weight", "lora_up.weight", "alpha"  # kohya's names of a module's tensors


def fuse(pairs: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Return one pair for the concatenated outputs of `pairs`: down (sum R, in) and a block-diagonal up (sum out, sum R)."""
    return torch.cat([down for down, _ in pairs]), torch.block_diag(*[up for _, up in pairs])


def split(down: Tensor, up: Tensor, sizes: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
    """Return the pairs that `fuse` combined, all of the same rank; `sizes` are their output rows.

    Raises:
        ValueError: If the rank is not a multiple of their number or if up is not block-diagonal.
    """
    if down.shape[0] % len(sizes):
        raise ValueError(f"a rank of {down.shape[0]} is not a multiple of {len(sizes)} parts")
    downs = down.chunk(len(sizes))
    rank = len(downs[0])
    ups = [rows[:, part * rank : (part + 1) * rank] for part, rows in enumerate(up.split(list(sizes)))]
    if not torch.equal(torch.block_diag(*ups), up):
        raise ValueError("the parts are mixed")
    return [(each_down.contiguous(), each_up.contiguous()) for each_down, each_up in zip(downs, ups, strict=True)]


def frobenius(down: Tensor, up: Tensor) -> Tensor:
    """Return the Frobenius norm of up @ down, computed from two R x R matrices."""
    return ((up.T @ up) * (down @ down.T)).sum().clamp(min=0).sqrt()


def singular(down: Tensor, up: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the thin SVD of up @ down: U (out, R), S (R,) descending, Vh (R, in), by QR of the factors; R is at most out and in."""
    q_up, r_up = torch.linalg.qr(up)
    q_down, r_down = torch.linalg.qr(down.T)
    u, s, vh = torch.linalg.svd(r_up @ r_down.T, full_matrices=False)
    return q_up @ u, s, vh @ q_down.T


def truncate(down: Tensor, up: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Return the best approximation of up @ down with a lower rank (Eckart-Young); each factor gets the root of the singular values."""
    u, s, vh = singular(down, up)
    root = s[:rank].sqrt()
    return root[:, None] * vh[:rank], u[:, :rank] * root

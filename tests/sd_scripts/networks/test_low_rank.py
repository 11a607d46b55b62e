"""The algebra of low-rank pairs against NumPy's."""

import numpy as np
import pytest
import torch

from networks.low_rank import frobenius, fuse, singular, split, truncate


def pair(out=20, rank=6, inner=12, seed=0):
    random = torch.Generator().manual_seed(seed)
    return torch.randn(rank, inner, generator=random), torch.randn(out, rank, generator=random)


def test_fused_pairs_stack_products_and_split_exactly():
    pairs = [pair(out=8, rank=3, seed=1), pair(out=5, rank=3, seed=2)]
    down, up = fuse(pairs)
    assert torch.allclose(up @ down, torch.cat([each_up @ each_down for each_down, each_up in pairs]), atol=1e-6)
    apart = split(down, up, [8, 5])
    assert all(torch.equal(a, b) for ours, theirs in zip(apart, pairs, strict=True) for a, b in zip(ours, theirs, strict=True))


def test_mixed_weights_cannot_be_split():
    down, up = pair(rank=6)
    with pytest.raises(ValueError, match="mixed"):
        split(down, up, [10, 10])
    with pytest.raises(ValueError, match="multiple"):
        split(down, up, [5, 5, 5, 5])


@pytest.mark.parametrize("rank", [6, 30])  # also more ranks than the matrix has
def test_norm_and_singular_values_match_numpy(rank):
    down, up = pair(rank=rank)
    product = (up.double() @ down.double()).numpy()
    u, s, vh = singular(down.double(), up.double())
    assert frobenius(down, up).item() == pytest.approx(np.linalg.norm(product), rel=1e-5)
    assert np.allclose(s[: min(rank, 12)].numpy(), np.linalg.svd(product, compute_uv=False)[: min(rank, 12)])
    assert np.allclose((u * s @ vh).numpy(), product)


def test_truncation_matches_numpy_and_full_rank_is_exact():
    down, up = (each.double() for each in pair())
    product = (up @ down).numpy()
    u, s, vh = np.linalg.svd(product)
    low_down, low_up = truncate(down, up, 3)
    assert low_down.shape == (3, 12)
    assert low_up.shape == (20, 3)
    assert np.allclose((low_up @ low_down).numpy(), u[:, :3] * s[:3] @ vh[:3])
    whole_down, whole_up = truncate(down, up, 6)
    assert np.allclose((whole_up @ whole_down).numpy(), product)

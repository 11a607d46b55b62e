"""Patches, positions and rotations are what they say they are."""

import pytest
import torch

from library.flux_math import apply_rope, image_ids, pack_latents, rope, timestep_embedding, unpack_latents


def test_pack_orders_rows_then_channels():
    latents = torch.arange(2 * 4 * 6).reshape(1, 2, 4, 6)
    tokens = pack_latents(latents)
    assert tokens.shape == (1, 6, 8)
    assert tokens[0, 1].tolist() == [2, 3, 8, 9, 26, 27, 32, 33]  # second patch of the first row: both channels, row by row


def test_unpack_undoes_pack():
    latents = torch.randn(3, 16, 6, 10)
    assert torch.equal(unpack_latents(pack_latents(latents), 6, 10), latents)


def test_odd_sizes_are_refused():
    with pytest.raises(ValueError, match="even"):
        pack_latents(torch.zeros(1, 16, 5, 8))


def test_image_ids_run_row_major():
    assert image_ids(1, 4, 6)[0].tolist() == [[0, 0, 0], [0, 0, 1], [0, 0, 2], [0, 1, 0], [0, 1, 1], [0, 1, 2]]


def test_rotation_keeps_lengths_and_depends_on_distance_only():
    ids = torch.tensor([[[0.0, 3, 5], [0, 7, 6], [0, 13, 15], [0, 17, 16]]])
    positions = rope(ids, (8, 28, 28), 10_000.0)
    q, k = torch.randn(2, 1, 1, 1, 64).expand(2, 1, 1, 4, 64)
    rotated_q, rotated_k = apply_rope(q, positions), apply_rope(k, positions)
    assert torch.allclose(rotated_q.norm(dim=-1), q.norm(dim=-1), atol=1e-5)
    products = rotated_q @ rotated_k.transpose(-1, -2)
    assert torch.allclose(products[..., 0, 1], products[..., 2, 3], atol=1e-4)  # both pairs are (4, 1) apart


def test_timestep_embedding_is_cosines_then_sines():
    embedded = timestep_embedding(torch.tensor([0.5]), 8)
    angles = 500.0 * torch.tensor([1.0, 10_000**-0.25, 10_000**-0.5, 10_000**-0.75])
    assert torch.allclose(embedded[0], torch.cat([angles.cos(), angles.sin()]), atol=1e-4)

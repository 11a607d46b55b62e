"""Patches, positions and rotations equal their definitions."""

import pytest
import torch
from diffusers.models.embeddings import apply_rotary_emb

from library.models.flux1.math import (
    gated_sum,
    image_ids,
    modulated,
    normed_and_rotated,
    pack_latents,
    rope,
    timestep_embedding,
    unpack_latents,
)


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
    rotated_q, rotated_k = (normed_and_rotated(x, torch.ones(64), positions) for x in (q, k))
    assert torch.allclose(rotated_q.norm(dim=-1), torch.tensor(8.0), atol=1e-4)  # a root mean square of 1 over 64 channels
    products = rotated_q @ rotated_k.transpose(-1, -2)
    assert torch.allclose(products[..., 0, 1], products[..., 2, 3], atol=1e-4)  # both pairs are (4, 1) apart


def test_timestep_embedding_is_cosines_then_sines():
    embedded = timestep_embedding(torch.tensor([0.5]), 8)
    angles = 500.0 * torch.tensor([1.0, 10_000**-0.25, 10_000**-0.5, 10_000**-0.75])
    assert torch.allclose(embedded[0], torch.cat([angles.cos(), angles.sin()]), atol=1e-4)


def test_norm_and_rotation_and_their_gradients_equal_diffusers():
    random = torch.Generator().manual_seed(2)
    ids = torch.randint(0, 30, (1, 9, 3), generator=random).float()
    positions = rope(ids, (8, 28, 28), 10_000.0)
    strided = torch.randn(2, 9, 3, 64, generator=random).transpose(1, 2)  # heads lie beside each other, as they do after qkv
    x, scale = strided.clone().requires_grad_(), (torch.rand(64, generator=random) + 0.5).requires_grad_()
    weights = torch.randn(2, 3, 9, 64, generator=random)
    ours = torch.autograd.grad((normed_and_rotated(x, scale, positions) * weights).sum(), (x, scale))
    normed = torch.nn.functional.rms_norm(x, (64,), scale, eps=1e-6)
    cos, sin = (part[0, 0].repeat_interleave(2, dim=-1) for part in (positions.real, positions.imag))
    theirs_out = apply_rotary_emb(normed, (cos, sin))
    theirs = torch.autograd.grad((theirs_out * weights).sum(), (x, scale))
    assert torch.allclose(normed_and_rotated(x, scale, positions), theirs_out, atol=1e-5)
    assert torch.allclose(ours[0], theirs[0], atol=1e-5)
    assert torch.allclose(ours[1], theirs[1], atol=1e-4)


def test_modulation_and_gate_match_formula():
    x, shift, scale = torch.randn(2, 5, 8), torch.randn(2, 1, 8), torch.randn(2, 1, 8)
    assert torch.allclose(modulated(x, shift, scale), x * (1 + scale) + shift, atol=1e-6)
    assert torch.allclose(gated_sum(x, scale, shift), x + scale * shift, atol=1e-6)


def test_autocast_rounds_nothing_inside_norm():
    x = torch.randn(1, 2, 9, 64, generator=torch.Generator().manual_seed(5))
    positions = rope(torch.arange(27.0).reshape(1, 9, 3), (8, 28, 28), 10_000.0)
    exact = normed_and_rotated(x, torch.ones(64), positions)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(normed_and_rotated(x, torch.ones(64), positions), exact)

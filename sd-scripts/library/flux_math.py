"""The pure functions of the FLUX transformer: patches, positions, attention. No parameters, no state.

Shape suffixes: B batch, C channels, H W latent height and width, N image tokens, L text tokens, S = L + N, h heads, D head dimension.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def pack_latents(latents_BCHW: Tensor) -> Tensor:
    """Fold each 2x2 latent patch into one transformer token.

    (B, C, H, W) with even H and W -> (B, H/2 * W/2, 4*C). Tokens run row-major over patches; inside a token the order
    is channel, row, column, as in BFL's reference. Dtype and device are kept.

    Raises ValueError if H or W is odd: cropping would shift the picture against its position ids.
    """
    B, C, H, W = latents_BCHW.shape
    if H % 2 or W % 2:
        raise ValueError(f"latents must have an even height and width to be packed, not {H}x{W}")
    patches = latents_BCHW.reshape(B, C, H // 2, 2, W // 2, 2)
    return patches.permute(0, 2, 4, 1, 3, 5).reshape(B, (H // 2) * (W // 2), 4 * C)


def unpack_latents(tokens_BNC: Tensor, height: int, width: int) -> Tensor:
    """Undo pack_latents: (B, H/2 * W/2, 4*C) -> (B, C, H, W) for a latent height and width."""
    B, _, channels = tokens_BNC.shape
    patches = tokens_BNC.reshape(B, height // 2, width // 2, channels // 4, 2, 2)
    return patches.permute(0, 3, 1, 4, 2, 5).reshape(B, channels // 4, height, width)


def image_ids(batch_size: int, height: int, width: int, device: torch.device | str = "cpu") -> Tensor:
    """Return the position (0, row, column) of every image token: (B, H/2 * W/2, 3), float32, for a latent height and width."""
    rows, columns = height // 2, width // 2
    ids = torch.zeros(rows, columns, 3, device=device)
    ids[..., 1] = torch.arange(rows, device=device)[:, None]
    ids[..., 2] = torch.arange(columns, device=device)[None, :]
    return ids.reshape(1, rows * columns, 3).expand(batch_size, -1, -1)


def text_ids(batch_size: int, length: int, device: torch.device | str = "cpu") -> Tensor:
    """Return the positions of the text tokens, which FLUX puts all at the origin: (B, L, 3), float32 zeros."""
    return torch.zeros(batch_size, length, 3, device=device)


def timestep_embedding(timesteps_B: Tensor, dim: int, max_period: float = 10_000.0) -> Tensor:
    """Embed a time in [0, 1] (or a guidance scale) as cosines then sines: (B,) -> (B, dim), float32.

    The sinusoids of "Attention is all you need" over t * 1000; frequencies fall geometrically from 1 to 1/max_period. The order of the
    float32 operations is the reference's: at a guidance of 3.5 another order turns the fastest angles by 1e-4.
    """
    half = dim // 2
    frequencies = torch.exp(-math.log(max_period) * torch.arange(half, dtype=torch.float32, device=timesteps_B.device) / half)
    angles = 1000.0 * timesteps_B.float()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def rope(ids_BSA: Tensor, axes_dim: tuple[int, ...], theta: float) -> tuple[Tensor, Tensor]:
    """Return the cosines and sines of the rotary embedding: (B, S, axes) -> two of (B, 1, S, D/2), D = sum(axes_dim).

    Each axis owns axes_dim[i] of the head's channels, rotated pairwise by position * theta**(-2k/axes_dim[i]) (RoFormer, one axis after
    the other). Angles are computed in float64: float32 loses digits at far positions.
    """
    angles = []
    for axis, dim in enumerate(axes_dim):
        exponents = torch.arange(0, dim, 2, dtype=torch.float64, device=ids_BSA.device) / dim
        angles.append(ids_BSA[..., axis, None].double() * theta**-exponents)
    angles_BSD = torch.cat(angles, dim=-1)
    return angles_BSD.cos().float().unsqueeze(1), angles_BSD.sin().float().unsqueeze(1)


def apply_rope(x_BhSD: Tensor, positions: tuple[Tensor, Tensor]) -> Tensor:
    """Rotate neighbouring channel pairs by their position: (B, h, S, D) -> the same shape and dtype."""
    cos, sin = positions
    even, odd = x_BhSD.float().unflatten(-1, (-1, 2)).unbind(-1)
    rotated = torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1)
    return rotated.flatten(-2).to(x_BhSD.dtype)


def attention(q_BhSD: Tensor, k_BhSD: Tensor, v_BhSD: Tensor, positions: tuple[Tensor, Tensor], mask: Tensor | None = None) -> Tensor:
    """Attend with rotary positions: three of (B, h, S, D) -> (B, S, h*D). mask (B, 1, 1, S) is True where a key may be seen."""
    q_BhSD, k_BhSD = apply_rope(q_BhSD, positions), apply_rope(k_BhSD, positions)
    out_BhSD = F.scaled_dot_product_attention(q_BhSD, k_BhSD, v_BhSD, attn_mask=mask)
    return out_BhSD.transpose(1, 2).flatten(2)

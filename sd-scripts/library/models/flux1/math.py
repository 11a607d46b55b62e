"""The pure functions of FLUX: patches, positions, noise levels, attention. No parameters, no state.

Shape suffixes: B batch, C channels, H W latent height and width, N image tokens, L text tokens, S = L + N, h heads, D head dimension.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


def pack_latents(latents_BCHW: Tensor) -> Tensor:
    """Fold each 2x2 latent patch into one transformer token.

    (B, C, H, W) with even H and W -> (B, H/2 * W/2, 4*C). Tokens run row-major over patches; inside a token the order
    is channel, row, column, as in BFL's reference. Dtype and device are kept.

    Raises:
        ValueError: If H or W is odd: cropping would shift the image against its position ids.
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


def rope(ids_BSA: Tensor, axes_dim: tuple[int, ...], theta: float) -> Tensor:
    """Return the rotations of the rotary embedding as complex numbers: (B, S, axes) -> (B, 1, S, D/2), complex64, D = sum(axes_dim).

    Each axis owns axes_dim[i] of the head's channels, rotated pairwise by position * theta**(-2k/axes_dim[i]) (RoFormer, one axis after
    the other). Angles are computed in float64: float32 loses digits at far positions.
    """
    angles = []
    for axis, dim in enumerate(axes_dim):
        exponents = torch.arange(0, dim, 2, dtype=torch.float64, device=ids_BSA.device) / dim
        angles.append(ids_BSA[..., axis, None].double() * theta**-exponents)
    angles_BSD = torch.cat(angles, dim=-1)
    return torch.complex(angles_BSD.cos().float(), angles_BSD.sin().float()).unsqueeze(1)


def normed_and_rotated(x_BhSD: Tensor, scale_D: Tensor, positions: Tensor) -> Tensor:
    """Divide queries or keys by their root mean square, scale them, and rotate channel pairs by their position.

    (B, h, S, D), (D,) and rope's (B, 1, S, D/2) -> (B, h, S, D), contiguous, in x's dtype; computed in float32 and rounded once.
    """
    out: Tensor = _NormedAndRotated.apply(x_BhSD, scale_D, positions)  # type: ignore[no-untyped-call]  # torch does not annotate apply
    return out


class _NormedAndRotated(torch.autograd.Function):
    """Fused RMSNorm and RoPE with a hand-written backward: saves eight float32 intermediates that autograd would keep.

    With h = x / rms(x): y = R(s h). The rotation's gradient is the rotation back, so g' = s R^-1(g), dx = (g' - h mean(g' h)) / rms(x).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, positions: Tensor) -> Tensor:
        wide = x.to(torch.float32, memory_format=torch.contiguous_format, copy=True)
        inverse = torch.rsqrt(torch.linalg.vector_norm(wide, dim=-1, keepdim=True).square() / x.shape[-1] + 1e-6)
        ctx.save_for_backward(x, scale, positions, inverse)
        _as_pairs(wide.mul_(inverse).mul_(scale)).mul_(positions)
        return wide.to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, None]:
        x, scale, positions, inverse = ctx.saved_tensors
        wide = grad.to(torch.float32, memory_format=torch.contiguous_format, copy=True)
        _as_pairs(wide).mul_(positions.conj())
        normed = x.float() * inverse
        grad_scale = (wide * normed).sum((0, 1, 2)).to(scale.dtype) if ctx.needs_input_grad[1] else None
        mean = (wide.mul_(scale) * normed).mean(-1, keepdim=True)
        return wide.addcmul_(normed, mean, value=-1).mul_(inverse).to(x.dtype), grad_scale, None


def _as_pairs(x: Tensor) -> Tensor:
    """(..., D) float32, contiguous -> (..., D/2) complex numbers in the same memory: adjacent channels are rotated together."""
    return torch.view_as_complex(x.unflatten(-1, (-1, 2)))


def modulated(x_BSC: Tensor, shift_B1C: Tensor, scale_B1C: Tensor) -> Tensor:
    """Return x * (1 + scale) + shift in one pass: (B, S, C) -> the same shape."""
    return torch.addcmul(shift_B1C, x_BSC, 1 + scale_B1C)


def gated_sum(x_BSC: Tensor, gate_B1C: Tensor, y_BSC: Tensor) -> Tensor:
    """Return x + gate * y in one pass: (B, S, C) -> the same shape."""
    return torch.addcmul(x_BSC, gate_B1C, y_BSC)


def attention(q_BhSD: Tensor, k_BhSD: Tensor, v_BhSD: Tensor, mask: Tensor | None = None) -> Tensor:
    """Attend: three of (B, h, S, D) -> (B, S, h*D). mask (B, 1, 1, S) is True where a key may be seen."""
    if v_BhSD.device.type == "cpu":
        v_BhSD = v_BhSD.contiguous()  # its kernel takes a tenth longer where a head's rows are not contiguous
    out_BhSD = F.scaled_dot_product_attention(q_BhSD, k_BhSD, v_BhSD, attn_mask=mask)
    return out_BhSD.transpose(1, 2).flatten(2)

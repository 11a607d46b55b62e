"""The FLUX.1 transformer with BFL's parameter names; every dimension is read from the tensors' shapes.

The architecture only: its files are read by loading.py, and library.placement decides where its blocks are and how they run. Shape suffixes as
in math.py.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from library.models.family import BlockRunner
from library.models.flux1.math import attention, gated_sum, modulated, normed_and_rotated, rope, timestep_embedding

TIME_DIM = 256


@dataclass(frozen=True, kw_only=True)
class FluxParams:
    """The dimensions of a FLUX transformer; FLUX.1 dev is 64 in, 4096 context, 768 vec, 3072 wide, 24 heads, 19 + 38 blocks."""

    in_channels: int
    context_dim: int
    vec_dim: int
    hidden_size: int
    num_heads: int
    mlp_dim: int
    depth: int
    depth_single_blocks: int
    guidance_embed: bool
    theta: float = 10_000.0

    @property
    def head_dim(self) -> int:
        """Channels of one attention head."""
        return self.hidden_size // self.num_heads

    @property
    def axes_dim(self) -> tuple[int, int, int]:
        """Channels of a head that each position axis rotates: 1/8, 7/16 and 7/16 of them."""
        eighth, rest = self.head_dim // 8, self.head_dim * 7 // 16
        return eighth, rest, rest


def params_from_shapes(shapes: Mapping[str, tuple[int, ...]]) -> FluxParams:
    """Read the dimensions off a BFL state dict's shapes.

    Raises:
        KeyError: If a tensor that determines them is missing.
    """
    hidden_size, in_channels = shapes["img_in.weight"]

    def count(kind: str) -> int:
        return 1 + max((int(m[1]) for key in shapes if (m := re.match(rf"{kind}_blocks\.(\d+)\.", key))), default=-1)

    head_dim = next(shape[0] for key, shape in shapes.items() if key.endswith("query_norm.scale"))
    return FluxParams(
        in_channels=in_channels,
        context_dim=shapes["txt_in.weight"][1],
        vec_dim=shapes["vector_in.in_layer.weight"][1],
        hidden_size=hidden_size,
        num_heads=hidden_size // head_dim,
        mlp_dim=next(shape[1] for key, shape in shapes.items() if key.endswith("linear2.weight")) - hidden_size,
        depth=count("double"),
        depth_single_blocks=count("single"),
        guidance_embed="guidance_in.in_layer.weight" in shapes,
    )


class RMSNorm(nn.Module):
    """The scale of a root-mean-square norm, with BFL's parameter name `scale`; math.normed_and_rotated computes it."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(dim))


class QKNorm(nn.Module):
    """The norms of queries and keys."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.query_norm = RMSNorm(dim)
        self.key_norm = RMSNorm(dim)

    def forward(self, q_BhSD: Tensor, k_BhSD: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Normalize and rotate queries and keys: the shapes are kept."""
        q = normed_and_rotated(q_BhSD, self.query_norm.scale, positions)
        return q, normed_and_rotated(k_BhSD, self.key_norm.scale, positions)


class SelfAttention(nn.Module):
    """The projections of one stream of a double block; the attention itself is joint."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.norm = QKNorm(dim // num_heads)
        self.proj = nn.Linear(dim, dim)

    def queries_keys_values(self, x_BSC: Tensor, positions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, S, C) -> three of (B, h, S, D), queries and keys normed and rotated."""
        q, k, v = self.qkv(x_BSC).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        return *self.norm(q, k, positions), v


class MLPEmbedder(nn.Module):
    """Two linear layers with a SiLU between them, for time, guidance and the pooled text."""

    def __init__(self, in_dim: int, hidden_size: int) -> None:
        super().__init__()
        self.in_layer = nn.Linear(in_dim, hidden_size)
        self.silu = nn.SiLU()
        self.out_layer = nn.Linear(hidden_size, hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_dim) -> (B, hidden_size)."""
        out: Tensor = self.out_layer(self.silu(self.in_layer(x)))
        return out


class Modulation(nn.Module):
    """Shift, scale and gate from the conditioning vector, for one or two modulations in a block."""

    def __init__(self, dim: int, *, num_modulations: int) -> None:
        super().__init__()
        self.lin = nn.Linear(dim, 3 * num_modulations * dim)
        self.num_modulations = num_modulations

    def forward(self, vec_BC: Tensor) -> tuple[tuple[Tensor, Tensor, Tensor], ...]:
        """(B, C) -> a (shift, scale, gate) of (B, 1, C) each, for every modulation."""
        parts = self.lin(nn.functional.silu(vec_BC))[:, None, :].chunk(3 * self.num_modulations, dim=-1)
        return tuple((parts[3 * i], parts[3 * i + 1], parts[3 * i + 2]) for i in range(self.num_modulations))


def norm_without_weights(dim: int) -> nn.LayerNorm:
    """Return the LayerNorm before every modulation, which brings the scale and the shift."""
    return nn.LayerNorm(dim, elementwise_affine=False, eps=1e-6)


def mlp(dim: int, mlp_dim: int) -> nn.Sequential:
    """The feed-forward of one stream of a double block."""
    return nn.Sequential(nn.Linear(dim, mlp_dim), nn.GELU(approximate="tanh"), nn.Linear(mlp_dim, dim))


class DoubleStreamBlock(nn.Module):
    """Image and text with weights of their own, joined in one attention."""

    img_mod: Modulation
    img_norm1: nn.LayerNorm
    img_attn: SelfAttention
    img_norm2: nn.LayerNorm
    img_mlp: nn.Sequential
    txt_mod: Modulation
    txt_norm1: nn.LayerNorm
    txt_attn: SelfAttention
    txt_norm2: nn.LayerNorm
    txt_mlp: nn.Sequential

    def __init__(self, params: FluxParams) -> None:
        super().__init__()
        dim, heads = params.hidden_size, params.num_heads
        for stream in ("img", "txt"):
            setattr(self, f"{stream}_mod", Modulation(dim, num_modulations=2))
            setattr(self, f"{stream}_norm1", norm_without_weights(dim))
            setattr(self, f"{stream}_attn", SelfAttention(dim, heads))
            setattr(self, f"{stream}_norm2", norm_without_weights(dim))
            setattr(self, f"{stream}_mlp", mlp(dim, params.mlp_dim))

    def forward(self, img_BNC: Tensor, txt_BLC: Tensor, vec_BC: Tensor, positions: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Image (B, N, C) and text (B, L, C) -> the same shapes. In the joint attention, text tokens come first."""
        (img_shift, img_scale, img_gate), img_mod2 = self.img_mod(vec_BC)
        (txt_shift, txt_scale, txt_gate), txt_mod2 = self.txt_mod(vec_BC)
        txt_positions, img_positions = positions.split([txt_BLC.shape[1], img_BNC.shape[1]], dim=2)
        txt_q, txt_k, txt_v = self.txt_attn.queries_keys_values(modulated(self.txt_norm1(txt_BLC), txt_shift, txt_scale), txt_positions)
        img_q, img_k, img_v = self.img_attn.queries_keys_values(modulated(self.img_norm1(img_BNC), img_shift, img_scale), img_positions)
        q, k, v = (torch.cat(pair, dim=2) for pair in ((txt_q, img_q), (txt_k, img_k), (txt_v, img_v)))
        txt_attn, img_attn = attention(q, k, v, mask).split([txt_BLC.shape[1], img_BNC.shape[1]], dim=1)
        img_BNC = gated_sum(img_BNC, img_gate, self.img_attn.proj(img_attn))
        txt_BLC = gated_sum(txt_BLC, txt_gate, self.txt_attn.proj(txt_attn))
        return self._feed_forward(img_BNC, self.img_norm2, self.img_mlp, img_mod2), self._feed_forward(
            txt_BLC, self.txt_norm2, self.txt_mlp, txt_mod2
        )

    @staticmethod
    def _feed_forward(x_BSC: Tensor, norm: nn.Module, net: nn.Module, modulation: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        shift, scale, gate = modulation
        return gated_sum(x_BSC, gate, net(modulated(norm(x_BSC), shift, scale)))


class SingleStreamBlock(nn.Module):
    """Text and image as one sequence; attention and feed-forward side by side."""

    def __init__(self, params: FluxParams) -> None:
        super().__init__()
        dim = params.hidden_size
        self.num_heads, self.mlp_dim = params.num_heads, params.mlp_dim
        self.linear1 = nn.Linear(dim, 3 * dim + params.mlp_dim)
        self.linear2 = nn.Linear(dim + params.mlp_dim, dim)
        self.norm = QKNorm(params.head_dim)
        self.pre_norm = norm_without_weights(dim)
        self.mlp_act = nn.GELU(approximate="tanh")
        self.modulation = Modulation(dim, num_modulations=1)

    def forward(self, x_BSC: Tensor, vec_BC: Tensor, positions: Tensor, mask: Tensor | None) -> Tensor:
        """(B, S, C) -> (B, S, C)."""
        ((shift, scale, gate),) = self.modulation(vec_BC)
        wide = self.linear1(modulated(self.pre_norm(x_BSC), shift, scale))
        qkv, mlp_in = wide.split([3 * x_BSC.shape[-1], self.mlp_dim], dim=-1)
        q, k, v = qkv.unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        q, k = self.norm(q, k, positions)
        attended = attention(q, k, v, mask)
        return gated_sum(x_BSC, gate, self.linear2(torch.cat([attended, self.mlp_act(mlp_in)], dim=-1)))


class LastLayer(nn.Module):
    """The modulated projection from the hidden size back to latent patches."""

    def __init__(self, hidden_size: int, out_channels: int) -> None:
        super().__init__()
        self.norm_final = norm_without_weights(hidden_size)
        self.linear = nn.Linear(hidden_size, out_channels)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(hidden_size, 2 * hidden_size))

    def forward(self, x_BNC: Tensor, vec_BC: Tensor) -> Tensor:
        """(B, N, C) -> (B, N, out_channels)."""
        shift, scale = self.adaLN_modulation(vec_BC)[:, None, :].chunk(2, dim=-1)
        out: Tensor = self.linear(modulated(self.norm_final(x_BNC), shift, scale))
        return out


class Flux(nn.Module):
    """The FLUX.1 transformer: predicts the velocity, noise minus image, from noisy latents, text and time."""

    def __init__(self, params: FluxParams) -> None:
        super().__init__()
        self.params = params
        self.block_runner: BlockRunner | None = None  # runs the blocks while gradients are computed
        dim = params.hidden_size
        self.img_in = nn.Linear(params.in_channels, dim)
        self.time_in = MLPEmbedder(TIME_DIM, dim)
        self.vector_in = MLPEmbedder(params.vec_dim, dim)
        self.guidance_in = MLPEmbedder(TIME_DIM, dim) if params.guidance_embed else None
        self.txt_in = nn.Linear(params.context_dim, dim)
        self.double_blocks = nn.ModuleList(DoubleStreamBlock(params) for _ in range(params.depth))
        self.single_blocks = nn.ModuleList(SingleStreamBlock(params) for _ in range(params.depth_single_blocks))
        self.final_layer = LastLayer(dim, params.in_channels)

    @property
    def blocks(self) -> list[nn.Module]:
        """The double blocks, then the single blocks: the order of the forward pass."""
        return [*self.double_blocks, *self.single_blocks]

    def forward(
        self,
        img: Tensor,
        img_ids: Tensor,
        txt: Tensor,
        txt_ids: Tensor,
        timesteps: Tensor,
        y: Tensor,
        guidance: Tensor | None = None,
        txt_mask: Tensor | None = None,
    ) -> Tensor:
        """Predict the velocity.

        img (B, N, in), img_ids (B, N, 3), txt (B, L, context), txt_ids (B, L, 3), timesteps (B,) in [0, 1] with 1 for pure noise,
        y (B, vec) pooled text, guidance (B,) for models that embed it, txt_mask (B, L) True for tokens that are not padding -> (B, N, in).

        Raises:
            ValueError: If the model embeds guidance and none is given.
        """
        vec = self._condition(timesteps, y, guidance, img.dtype)
        img, txt = self.img_in(img), self.txt_in(txt)
        positions = rope(torch.cat([txt_ids, img_ids], dim=1), self.params.axes_dim, self.params.theta)
        mask = _key_mask(txt_mask, img.shape[1])
        num_tokens = positions.shape[0] * positions.shape[2]
        run = self._runner(product_bytes(self.params, num_tokens, img.element_size()))
        for block in self.double_blocks:
            img, txt = run(block, img, txt, vec, positions, mask)
        x = torch.cat([txt, img], dim=1)
        for block in self.single_blocks:
            x = run(block, x, vec, positions, mask)
        velocity: Tensor = self.final_layer(x[:, txt.shape[1] :], vec)
        return velocity

    def _condition(self, timesteps: Tensor, y: Tensor, guidance: Tensor | None, dtype: torch.dtype) -> Tensor:
        vec: Tensor = self.time_in(timestep_embedding(timesteps, TIME_DIM).to(dtype))
        if self.guidance_in is not None:
            if guidance is None:
                raise ValueError("this model embeds guidance, so a guidance scale must be given")
            vec = vec + self.guidance_in(timestep_embedding(guidance, TIME_DIM).to(dtype))
        pooled: Tensor = self.vector_in(y)
        return vec + pooled

    def _runner(self, num_bytes: int) -> Callable[..., Any]:
        if self.block_runner is None or not torch.is_grad_enabled():
            return _call
        return partial(self.block_runner, product_bytes=num_bytes)


def _call(block: nn.Module, *args: Any) -> Any:
    return block(*args)


def product_bytes(params: FluxParams, num_tokens: int, element_size: int) -> int:
    """Return what the results of all blocks' Linears and attentions take: checkpointing that keeps them need not compute them again.

    Per token, a double block has 6 C + M numbers (qkv, attention, projection, feed-forward), a single block 5 C + M.
    """
    numbers = params.depth * (6 * params.hidden_size + params.mlp_dim)
    numbers += params.depth_single_blocks * (5 * params.hidden_size + params.mlp_dim)
    return numbers * num_tokens * element_size


def _key_mask(txt_mask: Tensor | None, num_image_tokens: int) -> Tensor | None:
    """(B, L) -> (B, 1, 1, L + N): image tokens are never masked."""
    if txt_mask is None:
        return None
    seen = txt_mask.bool()
    return torch.cat([seen, seen.new_ones(seen.shape[0], num_image_tokens)], dim=1)[:, None, None, :]

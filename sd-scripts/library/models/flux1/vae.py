"""FLUX's VAE (variational auto-encoder) with BFL's parameter names, and its loading; its widths and depths are read from the tensors' shapes.

Pixels in [-1, 1] become latents of 16 channels at an eighth of the size, already shifted and scaled as the transformer expects them.
Shape suffixes: B batch, C channels, H W height and width, in pixels or latents as stated.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fluxgym.contract.codes import ReasonCode
from library.errors import TrainerError
from library.models.flux1.layer_names import vae_recipes
from library.weights.model_files import ModelFiles

SCALE, SHIFT = 0.3611, 0.1159  # shift and scale of FLUX.1's latents; no file contains them
Z_CHANNELS = 16  # channels of FLUX's latents; Stable Diffusion's have 4


@dataclass(frozen=True, kw_only=True)
class VAEParams:
    """Channels by level (finest first), residual blocks a level, latent channels; FLUX.1 is (128, 256, 512, 512), 2, 16."""

    channels: tuple[int, ...]
    num_res_blocks: int
    z_channels: int

    @property
    def num_groups(self) -> int:
        """Groups of every GroupNorm: 32, or all channels of the finest level where it has fewer."""
        return min(32, self.channels[0])


def params_from_shapes(shapes: Mapping[str, tuple[int, ...]]) -> VAEParams:
    """Read the dimensions off a BFL state dict's shapes.

    Raises:
        KeyError: If a tensor that gives them is missing.
    """
    matches = [re.match(r"encoder\.down\.(\d+)\.block\.(\d+)\.conv1\.weight", key) for key in shapes]
    blocks = [(int(match[1]), int(match[2])) for match in matches if match]
    levels = range(1 + max((level for level, _ in blocks), default=-1))
    return VAEParams(
        channels=tuple(shapes[f"encoder.down.{level}.block.0.conv1.weight"][0] for level in levels),
        num_res_blocks=1 + max((block for _, block in blocks), default=-1),
        z_channels=shapes["decoder.conv_in.weight"][1],
    )


def conv3(in_channels: int, out_channels: int) -> nn.Conv2d:
    """A 3x3 convolution that keeps the size."""
    return nn.Conv2d(in_channels, out_channels, 3, padding=1)


class ResnetBlock(nn.Module):
    """Residual block: GroupNorm, SiLU and 3x3 convolution, twice, added to the input (1x1 convolution if the channels differ)."""

    def __init__(self, in_channels: int, out_channels: int, num_groups: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(num_groups, in_channels, eps=1e-6)
        self.conv1 = conv3(in_channels, out_channels)
        self.norm2 = nn.GroupNorm(num_groups, out_channels, eps=1e-6)
        self.conv2 = conv3(out_channels, out_channels)
        if in_channels != out_channels:
            self.nin_shortcut = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, in, H, W) -> (B, out, H, W)."""
        h: Tensor = self.conv1(F.silu(self.norm1(x_BCHW)))
        h = self.conv2(F.silu(self.norm2(h)))
        shortcut: Tensor = self.nin_shortcut(x_BCHW) if hasattr(self, "nin_shortcut") else x_BCHW
        return h + shortcut


class AttnBlock(nn.Module):
    """Attention of one head over all positions, at the coarsest level."""

    q: nn.Conv2d
    k: nn.Conv2d
    v: nn.Conv2d
    proj_out: nn.Conv2d

    def __init__(self, channels: int, num_groups: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(num_groups, channels, eps=1e-6)
        for part in ("q", "k", "v", "proj_out"):
            setattr(self, part, nn.Conv2d(channels, channels, 1))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, C, H, W) -> the same."""
        h = self.norm(x_BCHW)
        q, k, v = (part(h).flatten(2).transpose(1, 2)[:, None] for part in (self.q, self.k, self.v))  # (B, 1, HW, C)
        out = F.scaled_dot_product_attention(q, k, v)[:, 0].transpose(1, 2)
        projected: Tensor = self.proj_out(out.reshape_as(x_BCHW))
        return x_BCHW + projected


class Downsample(nn.Module):
    """Halve the size with a strided convolution, padded at the right and below only."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H/2, W/2)."""
        out: Tensor = self.conv(F.pad(x_BCHW, (0, 1, 0, 1)))
        return out


class Upsample(nn.Module):
    """Double the size by repeating pixels, then a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = conv3(channels, channels)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, 2H, 2W)."""
        out: Tensor = self.conv(F.interpolate(x_BCHW, scale_factor=2.0, mode="nearest"))
        return out


class Middle(nn.Module):
    """The blocks at the coarsest level, of the encoder and the decoder alike."""

    def __init__(self, channels: int, num_groups: int) -> None:
        super().__init__()
        self.block_1 = ResnetBlock(channels, channels, num_groups)
        self.attn_1 = AttnBlock(channels, num_groups)
        self.block_2 = ResnetBlock(channels, channels, num_groups)

    def forward(self, h_BCHW: Tensor) -> Tensor:
        """(B, C, H, W) -> the same."""
        out: Tensor = self.block_2(self.attn_1(self.block_1(h_BCHW)))
        return out


class Level(nn.Module):
    """One level: residual blocks between consecutive `channels`, then its `downsample` or `upsample`, if any."""

    def __init__(self, channels: list[int], num_groups: int, **resample: nn.Module) -> None:
        super().__init__()
        self.block = nn.ModuleList(ResnetBlock(a, b, num_groups) for a, b in pairwise(channels))
        for name, module in resample.items():
            self.add_module(name, module)

    def forward(self, h_BCHW: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H', W')."""
        for module in self.children():
            for block in module if isinstance(module, nn.ModuleList) else (module,):
                h_BCHW = block(h_BCHW)
        return h_BCHW


class Encoder(nn.Module):
    """Pixels -> mean and log variance of the latents."""

    def __init__(self, params: VAEParams) -> None:
        super().__init__()
        groups, widths = params.num_groups, params.channels
        self.conv_in = conv3(3, widths[0])
        self.down = nn.ModuleList()
        before = widths[0]
        for index, width in enumerate(widths):
            extra = {"downsample": Downsample(width)} if index < len(widths) - 1 else {}
            self.down.append(Level([before] + [width] * params.num_res_blocks, groups, **extra))
            before = width
        self.mid = Middle(before, groups)
        self.norm_out = nn.GroupNorm(groups, before, eps=1e-6)
        self.conv_out = conv3(before, 2 * params.z_channels)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, 2 * z, H/8, W/8)."""
        h = self.conv_in(x_BCHW)
        for stage in self.down:
            h = stage(h)
        h = self.mid(h)
        out: Tensor = self.conv_out(F.silu(self.norm_out(h)))
        return out


class Decoder(nn.Module):
    """Latents -> pixels. Levels are numbered from the finest, as in BFL's files, and run from the coarsest."""

    def __init__(self, params: VAEParams) -> None:
        super().__init__()
        groups, widths = params.num_groups, params.channels
        before = widths[-1]
        self.conv_in = conv3(params.z_channels, before)
        self.mid = Middle(before, groups)
        stages: list[nn.Module] = []
        for index in reversed(range(len(widths))):
            extra = {"upsample": Upsample(widths[index])} if index > 0 else {}
            stages.insert(0, Level([before] + [widths[index]] * (params.num_res_blocks + 1), groups, **extra))
            before = widths[index]
        self.up = nn.ModuleList(stages)
        self.norm_out = nn.GroupNorm(groups, before, eps=1e-6)
        self.conv_out = conv3(before, 3)

    def forward(self, z_BCHW: Tensor) -> Tensor:
        """(B, z, h, w) -> (B, 3, 8h, 8w)."""
        h = self.conv_in(z_BCHW)
        h = self.mid(h)
        for stage in reversed(self.up):
            h = stage(h)
        out: Tensor = self.conv_out(F.silu(self.norm_out(h)))
        return out


class VAE(nn.Module):
    """FLUX's VAE between pixels in [-1, 1] and the transformer's latents."""

    def __init__(self, params: VAEParams) -> None:
        super().__init__()
        self.params = params
        self.encoder = Encoder(params)
        self.decoder = Decoder(params)

    def encode(self, pixels_BCHW: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """(B, 3, H, W) in [-1, 1] -> (B, z, H/8, W/8), shifted and scaled. Without a generator the mean, else a sample around it."""
        moments: Tensor = self.encoder(pixels_BCHW)
        mean, log_variance = moments.chunk(2, dim=1)
        if generator is not None:
            noise = torch.randn(mean.shape, generator=generator).to(mean)
            mean = mean + noise * (0.5 * log_variance.clamp(-30, 20)).exp()
        return (mean - SHIFT) * SCALE

    def decode(self, latents_BCHW: Tensor) -> Tensor:
        """(B, z, h, w) -> (B, 3, 8h, 8w), in [-1, 1] but for overshoot."""
        pixels: Tensor = self.decoder(latents_BCHW / SCALE + SHIFT)
        return pixels


def load_vae(path: str, *, dtype: torch.dtype | None, device: torch.device | str, mapped: bool = True) -> VAE:
    """Load FLUX's VAE under BFL's or diffusers' names, a file or a folder.

    Raises:
        TrainerError (bad_model): If it is missing, damaged, or something else.
    """
    file = ModelFiles(path, "the VAE (ae)", folders=("vae",), prefixes=("vae.", "first_stage_model."), mapped=mapped)
    file.translate(vae_recipes(file.stored_names()))
    try:
        params = params_from_shapes({name: file.shape(name) for name in file.names})
    except KeyError as error:
        raise file.wrong_model_error("a VAE", error.args[0]) from None
    if params.z_channels != Z_CHANNELS:
        raise TrainerError(
            f"{path} is the VAE of another model: its latents have {params.z_channels} channels, FLUX's {Z_CHANNELS}.",
            reason_code=ReasonCode.BAD_MODEL,
        )
    with torch.device("meta"):
        model = VAE(params)
    file.load_into(model, dtype=dtype, device=device)
    return model.eval().requires_grad_(False)

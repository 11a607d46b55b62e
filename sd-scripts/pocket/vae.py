"""Pretraining of the pocket model's VAE.

Encoder and decoder are trained together. Then the statistics of the latents are folded into the weights, so that FLUX's scale and shift give
latents of mean 0 and deviation 1. Last, the decoder alone is trained, because folding a shift into a padded convolution is inexact at the border.
"""

import logging
import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from library.models.flux1.vae import SCALE, SHIFT, VAE, VAEParams
from pocket.images import bundled_photos, random_crop
from pocket.scenes import random_scene
from pocket.schedule import cosine_with_warmup

PARAMS = VAEParams(channels=(16, 32, 64, 96), num_res_blocks=1, z_channels=16)
PIXELS = 64
KL_WEIGHT = 5e-4
log = logging.getLogger(__name__)


def image_pool(num_scenes: int, num_crops: int) -> Tensor:
    """Return random scenes and crops of photos: (num_scenes + num_crops, 3, 64, 64) uint8."""
    random, photos = np.random.default_rng(1), bundled_photos()
    drawn = [random_scene(random, PIXELS).pixels for _ in range(num_scenes)]
    cut = [random_crop(random, photos, PIXELS, smallest=0.12).pixels for _ in range(num_crops)]
    return torch.from_numpy(np.stack(drawn + cut)).permute(0, 3, 1, 2).contiguous()


def augmented(pixels_BCHW: Tensor, random: torch.Generator) -> Tensor:
    """Augment a batch by flips, transposition, color permutation and gain: (B, 3, H, W) uint8 -> float in [-1, 1]."""
    x = pixels_BCHW.float() / 127.5 - 1
    if torch.rand((), generator=random) < 0.5:
        x = x.flip(-1)
    if torch.rand((), generator=random) < 0.5:
        x = x.transpose(-1, -2)
    if torch.rand((), generator=random) < 0.6:
        x = x[:, torch.randperm(3, generator=random)]
    gain = 0.75 + 0.4 * torch.rand(x.shape[0], 1, 1, 1, generator=random)
    return ((x + 1) * gain - 1).clamp(-1, 1)


def train_vae(num_steps: int, *, batch_size: int = 16, learning_rate: float = 1.5e-3) -> VAE:
    """Pretrain the VAE: 75 % of the steps for the whole VAE, then fold_statistics, then the other steps for the decoder alone."""
    torch.manual_seed(1)
    random = torch.Generator().manual_seed(1)
    pool = image_pool(6000, 12000)
    vae: VAE = VAE(PARAMS).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's annotations
    joint = int(num_steps * 0.75)
    optimizer = torch.optim.AdamW(vae.parameters(), lr=learning_rate, betas=(0.9, 0.98), weight_decay=1e-4)
    for step in range(num_steps):
        if step == joint:
            fold_statistics(vae, pool)
            vae.encoder.requires_grad_(False)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * cosine_with_warmup(step, num_steps, floor=0.02)
        pixels = augmented(pool[torch.randint(len(pool), (batch_size,), generator=random)], random).to(memory_format=torch.channels_last)
        loss, psnr = _losses(vae, pixels, random)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step % 100 == 0:
            log.info("vae %d/%d loss %.4f psnr %.2f dB", step, num_steps, loss.item(), psnr)
    return vae.eval().requires_grad_(False)


def sharpen_decoder(vae: VAE, num_steps: int, *, batch_size: int = 32, learning_rate: float = 1e-3) -> VAE:
    """Train the decoder alone on images without augmentation; the latents do not change.

    Augmented colors make the encoder general but the decoder imprecise. Noise on the latents imitates the errors of a transformer.
    """
    random = torch.Generator().manual_seed(7)
    pool = image_pool(8000, 8000)
    with torch.no_grad():
        latents = torch.cat([vae.encode(part.float() / 127.5 - 1) for part in pool.split(64)])
    vae.decoder.requires_grad_(True)
    vae.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's annotations
    optimizer = torch.optim.AdamW(vae.decoder.parameters(), lr=learning_rate, betas=(0.9, 0.98), weight_decay=1e-4)
    for step in range(num_steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * cosine_with_warmup(step, num_steps, floor=0.02)
        rows = torch.randint(len(pool), (batch_size,), generator=random)
        noisy = latents[rows] + 0.08 * torch.randn((batch_size, *latents.shape[1:]), generator=random)
        target, restored = pool[rows].float() / 127.5 - 1, vae.decode(noisy)
        squares = F.mse_loss(restored, target)
        (F.l1_loss(restored, target) + 2 * squares).backward()
        torch.nn.utils.clip_grad_norm_(vae.decoder.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step % 100 == 0:
            log.info("decoder %d/%d psnr %.2f dB", step, num_steps, -10 * math.log10(squares.item() / 4))
    return vae.eval().requires_grad_(False)


def _losses(vae: VAE, pixels: Tensor, random: torch.Generator) -> tuple[Tensor, float]:
    mean, log_variance = vae.encoder(pixels).chunk(2, dim=1)
    log_variance = log_variance.clamp(-20, 10)
    latents = mean + torch.randn(mean.shape, generator=random) * (0.5 * log_variance).exp()
    restored = vae.decoder(latents)
    squares = F.mse_loss(restored, pixels)
    loss = F.l1_loss(restored, pixels) + 2 * squares
    if mean.requires_grad:
        loss = loss + KL_WEIGHT * 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
    return loss, -10 * math.log10(squares.item() / 4)


@torch.no_grad()
def fold_statistics(vae: VAE, pool: Tensor, num_images: int = 2048) -> None:
    """Fold the mean and the deviation of each latent channel into the encoder's last and the decoder's first convolution.

    Afterwards, (encoder mean - SHIFT) * SCALE has mean 0 and deviation 1 in each channel, and the decoder inverts the change.
    """
    means = torch.cat([vae.encoder(part.float() / 127.5 - 1).chunk(2, dim=1)[0] for part in pool[:: len(pool) // num_images].split(64)])
    center, spread = means.mean((0, 2, 3)), means.std((0, 2, 3))
    factor = 1 / (spread * SCALE)
    out, into, z = vae.encoder.conv_out, vae.decoder.conv_in, vae.params.z_channels
    assert out.bias is not None
    assert into.bias is not None
    out.weight[:z] *= factor[:, None, None, None]
    out.bias[:z] = (out.bias[:z] - center) * factor + SHIFT
    out.bias[z:] += 2 * factor.log()
    into.bias += (into.weight.sum((2, 3)) * (center - SHIFT / factor)).sum(1)
    into.weight /= factor[None, :, None, None]

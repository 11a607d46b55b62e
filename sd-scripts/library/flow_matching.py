"""Flow matching: noise levels, targets, and losses with their weights.

x_t = (1 - sigma) * x_0 + sigma * noise, t = 1000 * sigma, and the target is noise - x_0. The formulas are those of kohya's FLUX trainer.
Shape suffixes: B batch, C channels, H W latent height and width.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from library.config import HuberSchedule, LossConfig, LossType, PredictionType, TimestepSampling, WeightingScheme
from library.models.noise_shift import resolution_mu, shifted

NUM_TIMESTEPS = 1000
NUM_LEVELS = 4  # of the validation loss: timesteps 200, 400, 600 and 800, as in kohya


def sample_sigmas(config: LossConfig, batch_size: int, height: int, width: int, random: torch.Generator) -> Tensor:
    """Draw a noise level for every image of a batch: (B,) float32 in [0, 1]. height and width are the latents'.

    uniform: U(0, 1) · sigmoid: sigmoid(scale * n) · shift: k u / (1 + (k - 1) u) · flux_shift: e^mu / (e^mu + 1/u - 1), mu linear in the
    number of tokens · sigma: from the schedule of 1000 shifted levels, at an index that weighting_scheme draws.
    """
    if config.timestep_sampling == TimestepSampling.SIGMA:
        return _scheduled_sigmas(config, batch_size, random)
    if config.timestep_sampling == TimestepSampling.UNIFORM:
        sigmas = torch.rand(batch_size, generator=random)
    else:
        u = torch.sigmoid(config.sigmoid_scale * torch.randn(batch_size, generator=random))
        sigmas = _shift_by_name(config, u, height, width)
    low, high = config.min_timestep / NUM_TIMESTEPS, config.max_timestep / NUM_TIMESTEPS
    return low + (high - low) * sigmas


def _shift_by_name(config: LossConfig, u: Tensor, height: int, width: int) -> Tensor:
    if config.timestep_sampling == TimestepSampling.SHIFT:
        return shifted(u, config.discrete_flow_shift)
    return flux_shifted(u, height, width) if config.timestep_sampling == TimestepSampling.FLUX_SHIFT else u


def flux_shifted(u: Tensor, height: int, width: int) -> Tensor:
    """Shift noise levels by the latents' resolution; e^mu / (e^mu + 1/u - 1) equals shifted(u, e^mu)."""
    return shifted(u, math.exp(resolution_mu((height // 2) * (width // 2))))


def _scheduled_sigmas(config: LossConfig, batch_size: int, random: torch.Generator) -> Tensor:
    """Draw from the schedule of 1000 levels, high to low, shifted by discrete_flow_shift."""
    levels = shifted(torch.arange(NUM_TIMESTEPS, 0, -1, dtype=torch.float32) / NUM_TIMESTEPS, config.discrete_flow_shift)
    u = density(config, batch_size, random)
    low, high = config.min_timestep, config.max_timestep
    index = (u * (high - low) + low).long().clamp(0, NUM_TIMESTEPS - 1)
    return levels[index]


def density(config: LossConfig, batch_size: int, random: torch.Generator) -> Tensor:
    """Draw u in [0, 1] by weighting_scheme, as in SD3 (Esser et al. 2024): logit_normal, mode, else uniform."""
    if config.weighting_scheme == WeightingScheme.LOGIT_NORMAL:
        return torch.sigmoid(config.logit_mean + config.logit_std * torch.randn(batch_size, generator=random))
    u = torch.rand(batch_size, generator=random)
    if config.weighting_scheme == WeightingScheme.MODE:
        return 1 - u - config.mode_scale * (torch.cos(math.pi * u / 2) ** 2 - 1 + u)
    return u


def add_noise(latents_BCHW: Tensor, noise_BCHW: Tensor, sigmas_B: Tensor) -> Tensor:
    """Mix images and noise: (B, C, H, W) -> the same shape."""
    sigma = _broadcastable(sigmas_B)
    return (1 - sigma) * latents_BCHW + sigma * noise_BCHW


@dataclass(frozen=True, kw_only=True)
class NoisyLatents:
    """Images (B, C, H, W), the noise of the target, the noise levels (B,), and the mix of images and noise that the transformer gets.

    `noisy` is add_noise(latents, noise, sigmas), or with other noise for --ip_noise_gamma.
    """

    latents: Tensor
    noise: Tensor
    sigmas: Tensor
    noisy: Tensor


def prediction_and_target(config: LossConfig, output_BCHW: Tensor, inputs: NoisyLatents) -> tuple[Tensor, Tensor, Tensor | None]:
    """Turn the transformer's output into what is compared, by model_prediction_type -> prediction, target, weights (B,) or None.

    raw: the output. additive: output + x_t. sigma_scaled: x_t - sigma * output, weighted by weighting_scheme. The target is noise - x_0
    for all three, as in kohya.
    """
    target_BCHW = inputs.noise - inputs.latents
    if config.model_prediction_type == PredictionType.RAW:
        return output_BCHW, target_BCHW, None
    if config.model_prediction_type == PredictionType.ADDITIVE:
        return output_BCHW + inputs.noisy, target_BCHW, None
    scaled_BCHW = inputs.noisy - _broadcastable(inputs.sigmas) * output_BCHW
    return scaled_BCHW, target_BCHW, loss_weights(config.weighting_scheme, inputs.sigmas)


def loss_weights(scheme: WeightingScheme, sigmas_B: Tensor) -> Tensor | None:
    """Return SD3's weight of a noise level: sigma^-2 for sigma_sqrt, 2 / (pi * (1 - 2 sigma + 2 sigma^2)) for cosmap, else None."""
    if scheme == WeightingScheme.SIGMA_SQRT:
        return sigmas_B**-2.0
    if scheme == WeightingScheme.COSMAP:
        return 2 / (math.pi * (1 - 2 * sigmas_B + 2 * sigmas_B**2))
    return None


def loss_by_image(
    config: LossConfig, prediction_BCHW: Tensor, target_BCHW: Tensor, sigmas_B: Tensor, masks_B1HW: Tensor | None = None
) -> Tensor:
    """Compare by loss_type, weigh by the masks, and average over each image, what is masked included: (B, C, H, W) -> (B,) float32."""
    loss = _loss(config, prediction_BCHW.float(), target_BCHW.float(), sigmas_B)
    return (loss if masks_B1HW is None else loss * masks_B1HW).mean((1, 2, 3))


def _loss(config: LossConfig, prediction: Tensor, target: Tensor, sigmas_B: Tensor) -> Tensor:
    """(B, C, H, W) -> the same."""
    if config.loss_type == LossType.L2:
        return F.mse_loss(prediction, target, reduction="none")
    if config.loss_type == LossType.L1:
        return F.l1_loss(prediction, target, reduction="none")
    threshold = _broadcastable(huber_threshold(config, sigmas_B))
    root = torch.sqrt((prediction - target) ** 2 + threshold**2) - threshold
    return (2 * threshold if config.loss_type == LossType.HUBER else 2) * root


def huber_threshold(config: LossConfig, sigmas_B: Tensor) -> Tensor:
    """Return the pseudo-Huber loss's threshold: constant, or falling from huber_scale to huber_scale * huber_c as the noise grows (exponential).

    kohya's default schedule "snr" has no meaning for flow matching; the flags are refused with it.
    """
    assert config.huber_schedule != HuberSchedule.SNR
    if config.huber_schedule == HuberSchedule.EXPONENTIAL:
        return config.huber_scale * torch.exp(math.log(config.huber_c) * sigmas_B)
    return torch.full_like(sigmas_B, config.huber_c * config.huber_scale)


def validation_sigmas(min_timestep: int, max_timestep: int) -> list[float]:
    """Return the noise levels of the validation loss, evenly inside the trained timesteps; 0.2 to 0.8 for all, as in kohya."""
    span = max_timestep - min_timestep
    return [(min_timestep + span * part / (NUM_LEVELS + 1)) / NUM_TIMESTEPS for part in range(1, NUM_LEVELS + 1)]


def _broadcastable(values_B: Tensor) -> Tensor:
    """(B,) -> (B, 1, 1, 1), to broadcast over (B, C, H, W)."""
    return values_B[:, None, None, None]

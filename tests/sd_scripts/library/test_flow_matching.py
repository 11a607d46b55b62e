"""Noise levels, targets and losses equal an independent NumPy implementation of the formulas."""

import math

import numpy as np
import pytest
import torch

from library import flow_matching
from library.config import LossConfig, WeightingScheme
from library.randomness import generator

H, W, B = 8, 12, 4096


def arguments(**changes):
    defaults = {
        "timestep_sampling": "shift", "sigmoid_scale": 1.0, "discrete_flow_shift": 3.1582, "weighting_scheme": "none", "logit_mean": 0.0,
        "logit_std": 1.0, "mode_scale": 1.29, "min_timestep": 0, "max_timestep": 1000, "model_prediction_type": "raw", "loss_type": "l2",
        "huber_schedule": "constant", "huber_c": 0.1, "huber_scale": 1.0, "guidance_scale": 1.0, "ip_noise_gamma": 0.0,
    }  # fmt: skip
    return LossConfig(**(defaults | changes))


def draw(**changes):
    return flow_matching.sample_sigmas(arguments(**changes), B, H, W, generator(1, "sigma")).numpy().astype(np.float64)


def normal():
    return torch.randn(B, generator=generator(1, "sigma")).numpy().astype(np.float64)


def even():
    return torch.rand(B, generator=generator(1, "sigma")).numpy().astype(np.float64)


def logistic(x):
    return 1 / (1 + np.exp(-x))


def test_uniform_sampling_matches_formula():
    assert np.array_equal(draw(timestep_sampling="uniform"), even())


def test_sigmoid_sampling_matches_formula():
    assert np.allclose(draw(timestep_sampling="sigmoid", sigmoid_scale=1.7), logistic(1.7 * normal()), atol=1e-6)


def test_shift_sampling_matches_formula():
    u, k = logistic(normal()), 3.1582
    assert np.allclose(draw(), k * u / (1 + (k - 1) * u), atol=1e-6)


def test_flux_shift_sampling_matches_formula():
    u = logistic(normal())
    mu = 0.5 + 0.65 * ((H // 2) * (W // 2) - 256) / 3840
    assert np.allclose(draw(timestep_sampling="flux_shift"), math.e**mu / (math.e**mu + 1 / u - 1), atol=1e-6)


@pytest.mark.parametrize("scheme", ["none", "logit_normal", "mode"])
def test_sigma_draws_from_schedulers_levels(scheme):
    k = 2.0
    levels = np.arange(1000, 0, -1) / 1000
    levels = k * levels / (1 + (k - 1) * levels)
    if scheme == "logit_normal":
        u = logistic(0.3 + 0.8 * normal())
    elif scheme == "mode":
        u = even()
        u = 1 - u - 1.29 * (np.cos(np.pi * u / 2) ** 2 - 1 + u)
    else:
        u = even()
    expected = levels[np.clip((u * 1000).astype(int), 0, 999)]
    drawn = draw(timestep_sampling="sigma", weighting_scheme=scheme, discrete_flow_shift=k, logit_mean=0.3, logit_std=0.8)
    assert np.mean(np.abs(drawn - expected) > 1e-6) < 0.002  # float32 may round an index to its neighbor


def test_timestep_bounds_limit_levels():
    drawn = draw(min_timestep=200, max_timestep=700)
    assert drawn.min() >= 0.2
    assert drawn.max() <= 0.7


def tensors():
    random = torch.Generator().manual_seed(3)
    return [torch.randn(2, 16, H, W, generator=random) for _ in range(3)] + [torch.tensor([0.25, 0.9])]


@pytest.mark.parametrize("kind", ["raw", "additive", "sigma_scaled"])
def test_predictions_and_targets_match_formula(kind):
    output, latents, noise, sigmas = tensors()
    s = sigmas.numpy()[:, None, None, None]
    noisy = (1 - s) * latents.numpy() + s * noise.numpy()
    ours = flow_matching.add_noise(latents, noise, sigmas)
    assert np.allclose(ours, noisy, atol=1e-6)
    config = arguments(model_prediction_type=kind, weighting_scheme="sigma_sqrt")
    inputs = flow_matching.NoisyLatents(latents=latents, noise=noise, sigmas=sigmas, noisy=ours)
    prediction, target, weights = flow_matching.prediction_and_target(config, output, inputs)
    expected = {"raw": output.numpy(), "additive": output.numpy() + noisy, "sigma_scaled": noisy - s * output.numpy()}[kind]
    assert np.allclose(prediction, expected, atol=1e-5)
    assert np.allclose(target, noise.numpy() - latents.numpy())
    if kind == "sigma_scaled":
        assert np.allclose(weights, sigmas.numpy() ** -2)
    else:
        assert weights is None


def test_cosmap_weights_match_formula():
    s = np.array([0.1, 0.5, 0.9])
    expected = 2 / (np.pi * (1 - 2 * s + 2 * s**2))
    assert np.allclose(flow_matching.loss_weights(WeightingScheme.COSMAP, torch.tensor(s)), expected)


@pytest.mark.parametrize("kind", ["l1", "l2", "huber", "smooth_l1"])
def test_loss_types_match_torch(kind):
    prediction, target, _, sigmas = tensors()
    d, c = prediction.numpy() - target.numpy(), 0.1
    root = np.sqrt(d**2 + c**2) - c
    by_pixel = {"l1": np.abs(d), "l2": d**2, "huber": 2 * c * root, "smooth_l1": 2 * root}[kind]
    ours = flow_matching.loss_by_image(arguments(loss_type=kind), prediction, target, sigmas)
    assert np.allclose(ours, by_pixel.mean((1, 2, 3)), rtol=1e-5)
    masks = torch.rand(len(d), 1, *d.shape[2:], generator=generator(3))
    masked = flow_matching.loss_by_image(arguments(loss_type=kind), prediction, target, sigmas, masks)
    assert np.allclose(masked, (by_pixel * masks.numpy()).mean((1, 2, 3)), rtol=1e-5)  # kohya too divides by all pixels


def test_exponential_huber_falls_with_noise():
    threshold = flow_matching.huber_threshold(arguments(huber_schedule="exponential"), torch.tensor([0.0, 0.5, 1.0]))
    assert torch.allclose(threshold, torch.tensor([1.0, 0.1**0.5, 0.1]))


def test_validation_sigmas_are_evenly_inside_trained_timesteps():
    assert flow_matching.validation_sigmas(0, 1000) == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert flow_matching.validation_sigmas(500, 1000) == pytest.approx([0.6, 0.7, 0.8, 0.9])

"""From a batch to its loss: noise, the transformer's predicted velocity, and the velocity that is the target.

Every draw derives from (seed, step, micro-batch), so a step draws the same numbers whether the training was stopped before it or not. Nothing
here changes between steps: training and validation share one loss. Shape suffixes: B batch, C channels, H W latent height and width.
"""

import torch
from torch import Tensor

from library import flow_matching
from library.config import LossConfig
from library.data.dataset import Batch
from library.models.flux1.math import image_ids, pack_latents, text_ids, unpack_latents
from library.models.flux1.text_encoders import ClipTextEncoder, Flux1TextEncoders, encode_clip
from library.models.flux1.transformer import Flux
from library.models.flux1.vae import VAE
from library.placement.layout import autocast
from library.randomness import generator
from networks.base import TrainedNetwork


class BatchInputs:
    """The latents and the text of a batch, cached or encoded now."""

    def __init__(
        self,
        *,
        device: torch.device,
        seed: int,
        vae: VAE | None = None,
        encoders: Flux1TextEncoders | None = None,
        trained_clip: ClipTextEncoder | None = None,
        trains_t5: bool = False,
        with_t5_mask: bool = False,
    ) -> None:
        """Without `encoders` batches carry their text. `trained_clip` is CLIP-L when the network trains it: it is never cached."""
        self.device, self.seed, self.vae = device, seed, vae
        self.encoders, self.trained_clip = encoders, trained_clip
        self.trains_t5, self.with_t5_mask = trains_t5, with_t5_mask

    def latents(self, batch: Batch, *, step: int, micro: int) -> Tensor:
        """Return a batch's latents (B, 16, h, w) in float32; pixels give a sample of the VAE's distribution."""
        if batch.latents is not None:
            return self._cached(batch.latents)
        return self._encode(batch, generator(self.seed, "vae", step, micro))

    def mean_latents(self, batch: Batch) -> Tensor:
        """Return a batch's latents (B, 16, h, w) in float32; pixels give the mean of the VAE's distribution."""
        return self._encode(batch, None) if batch.latents is None else self._cached(batch.latents)

    def text(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return T5's states (B, L, C), CLIP's pooled output (B, V), and T5's mask (B, L) if padding is masked.

        What is trained is encoded here, so call it under autocast, and again when the network's multiplier has changed.
        """
        if self.encoders is not None:
            states = self.encoders.states(batch.captions, trains_t5=self.trains_t5)
            pooled = states.pooled if self.trained_clip is None else encode_clip(self.trained_clip, states.clip_ids)
            return states.context, pooled, states.mask
        assert batch.t5_out is not None
        mask = batch.t5_mask.to(self.device) if self.with_t5_mask and batch.t5_mask is not None else None
        return batch.t5_out.to(self.device), self._pooled(batch), mask

    def _cached(self, latents: Tensor) -> Tensor:
        return latents.to(self.device, torch.float32)

    def _encode(self, batch: Batch, random: torch.Generator | None) -> Tensor:
        assert self.vae is not None
        assert batch.pixels is not None
        with torch.no_grad():
            pixels = batch.pixels.to(self.device, next(self.vae.parameters()).dtype)
            return self.vae.encode(pixels, random).float()

    def _pooled(self, batch: Batch) -> Tensor:
        if self.trained_clip is not None:
            assert batch.clip_ids is not None
            return encode_clip(self.trained_clip, batch.clip_ids.to(self.device))
        assert batch.clip_pooled is not None
        return batch.clip_pooled.to(self.device)


class FlowMatchingLoss:
    """The weighted flow-matching loss of each image of a batch."""

    def __init__(
        self,
        flux: Flux,
        network: TrainedNetwork,
        inputs: BatchInputs,
        config: LossConfig,
        *,
        seed: int,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        """`inputs` encode the text of a batch; `dtype` is the precision of the transformer's arithmetic."""
        self.flux, self.network, self.inputs, self.config = flux, network, inputs, config
        self.seed, self.device, self.dtype = seed, device, dtype

    def __call__(self, batch: Batch, latents_BCHW: Tensor, *, step: int, micro: int) -> Tensor:
        """Return the loss of each image (B,) at a noise level that is drawn for it."""
        noise = torch.randn(latents_BCHW.shape, generator=generator(self.seed, "noise", step, micro)).to(self.device)
        draws = generator(self.seed, "sigma", step, micro)
        sigmas = flow_matching.sample_sigmas(self.config, len(latents_BCHW), *latents_BCHW.shape[-2:], draws).to(self.device)
        noisy = flow_matching.add_noise(latents_BCHW, self._perturbed(noise, step, micro), sigmas)
        return self._losses(batch, latents_BCHW, noise, sigmas, noisy)

    def at_sigmas(self, batch: Batch, latents_BCHW: Tensor, noise_BCHW: Tensor, sigmas_B: Tensor) -> Tensor:
        """Return the loss of each image (B,) at given noise and noise levels."""
        noisy = flow_matching.add_noise(latents_BCHW, noise_BCHW, sigmas_B)
        return self._losses(batch, latents_BCHW, noise_BCHW, sigmas_B, noisy)

    def _losses(self, batch: Batch, latents: Tensor, noise: Tensor, sigmas: Tensor, noisy: Tensor) -> Tensor:
        output = self._output(batch, noisy, sigmas)
        prediction, target, weights = flow_matching.prediction_and_target(self.config, output.float(), noisy, latents, noise, sigmas)
        if batch.preserves is not None:
            output = self._output_without_network(batch, noisy, sigmas)
            prior, _, _ = flow_matching.prediction_and_target(self.config, output.float(), noisy, latents, noise, sigmas)
            target = torch.where(batch.preserves.to(self.device)[:, None, None, None], prior, target)
        masks = None if batch.masks is None else batch.masks.to(self.device)
        losses = flow_matching.loss_by_image(self.config, prediction, target, sigmas, masks) * batch.loss_weights.to(self.device)
        return losses if weights is None else losses * weights

    def _output(self, batch: Batch, noisy: Tensor, sigmas: Tensor) -> Tensor:
        with autocast(self.device, self.dtype):
            return self._velocity(noisy, sigmas, batch)

    def _output_without_network(self, batch: Batch, noisy: Tensor, sigmas: Tensor) -> Tensor:
        """Return what the frozen models predict alone: the target of images with diff_output_preservation."""
        self.network.set_multiplier(0.0)
        try:
            with torch.no_grad():
                return self._output(batch, noisy, sigmas)
        finally:
            self.network.set_multiplier(1.0)

    def _perturbed(self, noise: Tensor, step: int, micro: int) -> Tensor:
        """Disturb the noise that is added, not the noise that is the target (--ip_noise_gamma); one random strength per batch."""
        gamma = self.config.ip_noise_gamma
        if not gamma:
            return noise
        draws = generator(self.seed, "ip_noise", step, micro)
        disturbance = torch.randn(noise.shape, generator=draws).to(noise.device)
        if self.config.ip_noise_gamma_random_strength:
            gamma *= torch.rand((), generator=draws).item()
        return noise + gamma * disturbance

    def _velocity(self, noisy: Tensor, sigmas: Tensor, batch: Batch) -> Tensor:
        """(B, 16, H, W) noisy latents -> (B, 16, H, W) predicted velocity."""
        context, pooled, mask = self.inputs.text(batch)
        B, _, height, width = noisy.shape
        guidance = torch.full((B,), self.config.guidance_scale, device=self.device) if self.flux.params.guidance_embed else None
        tokens = pack_latents(noisy)
        if self.flux.block_runner is not None:
            tokens.requires_grad_(True)
        ids, context_ids = image_ids(B, height, width, self.device), text_ids(B, context.shape[1], self.device)
        velocity = self.flux(tokens, ids, context, context_ids, sigmas, pooled, guidance, mask)
        return unpack_latents(velocity, height, width)

"""From a batch to its loss and gradients: noise, the transformer's velocity, what it should have been.

Every draw derives from (seed, step, micro-batch), so the same step draws the same whether the training was stopped before it or not.
"""

import torch
from torch import Tensor

from library import flow_matching
from library.data.dataset import Batch
from library.models.flux1.math import image_ids, pack_latents, text_ids, unpack_latents
from library.models.flux1.text_encoders import encode_clip
from library.placement.layout import autocast
from library.randomness import generator
from library.training.setup import Preparation


class Forward(Preparation):
    """What a prepared training does with one batch."""

    def _backward(self, batch: Batch, micro: int, num_micro: int) -> float:
        """Add one batch's gradients; returns its loss."""
        self.network.begin(self.step, micro)
        latents = self._latents(batch, micro)
        noise = torch.randn(latents.shape, generator=generator(self.args.seed, "noise", self.step, micro)).to(self.device)
        draws = generator(self.args.seed, "sigma", self.step, micro)
        sigmas = flow_matching.sample_sigmas(self.args, len(latents), *latents.shape[-2:], draws).to(self.device)
        noisy = flow_matching.add_noise(latents, self._perturbed(noise, micro), sigmas)
        loss = self._losses(batch, latents, noise, sigmas, noisy).mean()
        (loss / num_micro).backward()
        return loss.item()

    def _losses(self, batch: Batch, latents: Tensor, noise: Tensor, sigmas: Tensor, noisy: Tensor) -> Tensor:
        """The weighted loss of each image at its noise level: (B,)."""
        with autocast(self.device, self.dtype):
            output = self._velocity(noisy, sigmas, batch)
        prediction, target, weights = flow_matching.prediction_and_target(self.args, output.float(), noisy, latents, noise, sigmas)
        if batch.preserves is not None:
            target = self._prior_target(batch, target, latents, noise, sigmas, noisy)
        masks = None if batch.masks is None else batch.masks.to(self.device)
        losses = flow_matching.loss_by_image(self.args, prediction, target, sigmas, masks) * batch.loss_weights.to(self.device)
        return losses if weights is None else losses * weights

    def _prior_target(self, batch: Batch, target: Tensor, latents: Tensor, noise: Tensor, sigmas: Tensor, noisy: Tensor) -> Tensor:
        """Put what the model says without the LoRA in the target's place, for images with diff_output_preservation: (B, C, H, W)."""
        self.network.set_multiplier(0.0)
        try:
            with torch.no_grad(), autocast(self.device, self.dtype):
                output = self._velocity(noisy, sigmas, batch)
        finally:
            self.network.set_multiplier(1.0)
        prior, _, _ = flow_matching.prediction_and_target(self.args, output.float(), noisy, latents, noise, sigmas)
        return torch.where(batch.preserves.to(self.device)[:, None, None, None], prior, target)

    def _perturbed(self, noise: Tensor, micro: int) -> Tensor:
        """Disturb the noise that is put in, not the one that is to be found (--ip_noise_gamma); the random strength is one for the batch."""
        gamma = self.args.ip_noise_gamma
        if not gamma:
            return noise
        draws = generator(self.args.seed, "ip_noise", self.step, micro)
        disturbance = torch.randn(noise.shape, generator=draws).to(noise.device)
        if self.args.ip_noise_gamma_random_strength:
            gamma *= torch.rand((), generator=draws).item()
        return noise + gamma * disturbance

    def _latents(self, batch: Batch, micro: int | None) -> Tensor:
        """(B, 16, h, w); pixels that are not cached give a sample of the autoencoder, or without `micro` its mean."""
        if batch.latents is not None:
            return batch.latents.to(self.device, torch.float32)
        random = None if micro is None else generator(self.args.seed, "vae", self.step, micro)
        with torch.no_grad():
            pixels = batch.pixels.to(self.device, next(self.vae.parameters()).dtype)
            return self.vae.encode(pixels, random).float()

    def _velocity(self, noisy: Tensor, sigmas: Tensor, batch: Batch) -> Tensor:
        """(B, 16, H, W) noisy latents -> (B, 16, H, W) velocity."""
        context, pooled, mask = self._text(batch)
        B, _, height, width = noisy.shape
        guidance = torch.full((B,), self.args.guidance_scale, device=self.device) if self.flux.params.guidance_embed else None
        tokens = pack_latents(noisy)
        if self.flux.block_runner is not None:
            tokens.requires_grad_(True)
        places = image_ids(B, height, width, self.device), text_ids(B, context.shape[1], self.device)
        velocity = self.flux(tokens, places[0], context, places[1], sigmas, pooled, guidance, mask)
        return unpack_latents(velocity, height, width)

    def _text(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return T5's states, CLIP's pooled output (with its LoRA, when that is trained) and T5's mask of a batch."""
        if self.encoders is not None:
            states = self.encoders.states(batch.captions, trains_t5=self.plan.trains_t5)
            pooled = encode_clip(self.clip, states.clip_ids) if self.trains_clip else states.pooled
            return states.context, pooled, states.mask
        mask = batch.t5_mask.to(self.device) if self.args.apply_t5_attn_mask else None
        pooled = encode_clip(self.clip, batch.clip_ids.to(self.device)) if self.trains_clip else batch.clip_pooled.to(self.device)
        return batch.t5_out.to(self.device), pooled, mask

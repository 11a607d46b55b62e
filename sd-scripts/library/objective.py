"""From a batch to its loss: noise, the transformer's predicted velocity, and the velocity that is the target.

Every draw derives from (seed, step, micro-batch), so a step draws the same numbers whether the training was stopped before it or not. Nothing
here changes between steps: training and validation share one loss. Shape suffixes: B batch, C channels, H W latent height and width.
"""

import torch
from torch import Tensor, nn

from library import flow_matching
from library.config import LossConfig
from library.data.dataset import Batch
from library.flow_matching import NoisyLatents
from library.models.family import ModelFamily, Part, StepInputs, TextEncoders
from library.placement.layout import autocast
from library.randomness import generator
from networks.base import TrainedNetwork


class BatchInputs:
    """The latents and the text of a batch, cached or encoded now."""

    def __init__(
        self,
        family: ModelFamily,
        *,
        device: torch.device,
        seed: int,
        vae: nn.Module | None = None,
        encoders: TextEncoders | None = None,
        train: frozenset[Part] = frozenset(),
    ) -> None:
        """`vae` encodes batches without cached latents; `encoders` encode captions that are not cached and what is in `train`."""
        self.family = family
        self.device = device
        self.seed = seed
        self.vae = vae
        self.encoders = encoders
        self.train = train

    def latents(self, batch: Batch, *, step: int, micro: int) -> Tensor:
        """Return a batch's latents (B, C, h, w) in float32; pixels give a sample of the VAE's distribution."""
        if batch.latents is not None:
            return self._cached(batch.latents)
        return self._encode(batch, generator(self.seed, "vae", step, micro))

    def mean_latents(self, batch: Batch) -> Tensor:
        """Return a batch's latents (B, C, h, w) in float32; pixels give the mean of the VAE's distribution."""
        return self._encode(batch, None) if batch.latents is None else self._cached(batch.latents)

    def text(self, batch: Batch) -> dict[str, Tensor]:
        """Return the text tensors that the transformer takes, one row per caption.

        What is trained is encoded here, so call it under autocast, and again when the network's multiplier has changed.
        """
        if batch.text is not None:
            text = {name: tensor.to(self.device) for name, tensor in batch.text.items()}
        else:
            assert self.encoders is not None
            text = self.family.encode_text(self.encoders, batch.captions, self.train)
        return self.family.finish_text(text, self.encoders)

    def _cached(self, latents: Tensor) -> Tensor:
        return latents.to(self.device, torch.float32)

    def _encode(self, batch: Batch, random: torch.Generator | None) -> Tensor:
        assert self.vae is not None
        assert batch.pixels is not None
        with torch.no_grad():
            return self.family.encode_image(self.vae, batch.pixels, random)


class FlowMatchingLoss:
    """The weighted flow-matching loss of each image of a batch."""

    def __init__(
        self,
        family: ModelFamily,
        transformer: nn.Module,
        network: TrainedNetwork,
        inputs: BatchInputs,
        config: LossConfig,
        *,
        seed: int,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        """`inputs` encode the text of a batch; `dtype` is the precision of the transformer's arithmetic."""
        self.family = family
        self.transformer = transformer
        self.network = network
        self.inputs = inputs
        self.config = config
        self.seed = seed
        self.device = device
        self.dtype = dtype

    def __call__(self, batch: Batch, latents_BCHW: Tensor, *, step: int, micro: int) -> Tensor:
        """Return the loss of each image (B,) at a noise level that is drawn for it."""
        noise = torch.randn(latents_BCHW.shape, generator=generator(self.seed, "noise", step, micro)).to(self.device)
        draws = generator(self.seed, "sigma", step, micro)
        batch_size, _, height, width = latents_BCHW.shape
        sigmas = flow_matching.sample_sigmas(self.config, batch_size, height, width, draws).to(self.device)
        noisy = flow_matching.add_noise(latents_BCHW, self._perturbed(noise, step, micro), sigmas)
        return self._losses(batch, NoisyLatents(latents=latents_BCHW, noise=noise, sigmas=sigmas, noisy=noisy))

    def at_sigmas(self, batch: Batch, latents_BCHW: Tensor, noise_BCHW: Tensor, sigmas_B: Tensor) -> Tensor:
        """Return the loss of each image (B,) at given noise and noise levels."""
        noisy = flow_matching.add_noise(latents_BCHW, noise_BCHW, sigmas_B)
        return self._losses(batch, NoisyLatents(latents=latents_BCHW, noise=noise_BCHW, sigmas=sigmas_B, noisy=noisy))

    def _losses(self, batch: Batch, inputs: NoisyLatents) -> Tensor:
        output = self._output(batch, inputs)
        prediction, target, weights = flow_matching.prediction_and_target(self.config, output.float(), inputs)
        if batch.preserves is not None:
            output = self._output_without_network(batch, inputs)
            prior, _, _ = flow_matching.prediction_and_target(self.config, output.float(), inputs)
            target = torch.where(batch.preserves.to(self.device)[:, None, None, None], prior, target)
        masks = None if batch.masks is None else batch.masks.to(self.device)
        losses = flow_matching.loss_by_image(self.config, prediction, target, inputs.sigmas, masks) * batch.loss_weights.to(self.device)
        return losses if weights is None else losses * weights

    def _output(self, batch: Batch, inputs: NoisyLatents) -> Tensor:
        with autocast(self.device, self.dtype):
            return self._velocity(batch, inputs)

    def _output_without_network(self, batch: Batch, inputs: NoisyLatents) -> Tensor:
        """Return what the frozen models predict alone: the target of images with diff_output_preservation."""
        self.network.set_multiplier(0.0)
        try:
            with torch.no_grad():
                return self._output(batch, inputs)
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

    def _velocity(self, batch: Batch, inputs: NoisyLatents) -> Tensor:
        """Return the predicted velocity (B, C, H, W)."""
        text = self.inputs.text(batch)
        step = StepInputs(noisy=inputs.noisy, sigmas=inputs.sigmas, text=text, guidance=self.config.guidance_scale)
        return self.family.predict_velocity(self.transformer, step)

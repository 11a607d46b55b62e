"""Sample images: the prompts' text, FLUX's Euler schedule, PNG files in `sample/`.

Sampling does not change the training: its noise comes from generators of its own.
"""

import glob
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fluxgym.contract.files import SAMPLE_FOLDER, sample_name
from library.files import disk_errors
from library.models.flux1.math import image_ids, pack_latents, resolution_mu, shifted, text_ids, unpack_latents
from library.models.flux1.text_encoders import Flux1TextEncoders, encode_clip
from library.models.flux1.transformer import Flux
from library.models.flux1.vae import VAE
from library.placement.layout import autocast
from library.randomness import derived_seed
from library.sample_prompts import SamplePrompt


@dataclass(frozen=True)
class Conditioning:
    """A prompt's text as the transformer takes it: (1, L, C) states, (1, V) pooled, and (1, L) mask if padding is masked."""

    context: Tensor
    pooled: Tensor
    mask: Tensor | None = None


class PromptTexts:
    """The encoded texts of sample prompts; what the network trains is encoded again for each image."""

    def __init__(self, prompts: Sequence[SamplePrompt], encoders: Flux1TextEncoders, *, trains_clip: bool, trains_t5: bool) -> None:
        texts = [text for prompt in prompts for text in (prompt.prompt, prompt.negative_prompt)]
        self._states = {text: encoders.states(text) for text in dict.fromkeys(texts)}
        self._clip = encoders.clip if trains_clip else None
        self._encoders = encoders if trains_t5 else None

    def conditioning(self, text: str, device: torch.device) -> Conditioning:
        """Return one text of the prompts, on the device of the transformer."""
        stored = self._encoders.states(text) if self._encoders else self._states[text]
        pooled: Tensor = stored.pooled if self._clip is None else encode_clip(self._clip, stored.clip_ids.to(device))
        return Conditioning(stored.context.to(device), pooled.to(device), None if stored.mask is None else stored.mask.to(device))


class ImageSampler:
    """Draws every prompt of a training and writes kohya's files."""

    def __init__(
        self,
        *,
        flux: Flux,
        vae: VAE,
        prompts: Sequence[SamplePrompt],
        texts: PromptTexts,
        seed: int,
        dtype: torch.dtype,
        output_dir: Path,
        output_name: str,
    ) -> None:
        """`seed` is the run's, for prompts without a seed; `dtype` is the precision of the transformer's arithmetic."""
        self.flux, self.vae, self.prompts, self.texts = flux, vae, prompts, texts
        self.seed, self.dtype, self.output_dir, self.output_name = seed, dtype, output_dir, output_name

    def has_images(self, label: str) -> bool:
        """Return True if every image of a label ("000120", "e000004") is written."""
        folder, name = self.output_dir / SAMPLE_FOLDER, glob.escape(self.output_name)
        return all(any(folder.glob(f"{name}_{label}_{index:02d}_*.png")) for index in range(len(self.prompts)))

    @torch.no_grad()
    def draw(self, label: str, check: Callable[[], None]) -> None:
        """Draw every prompt; `check` is called before every sampling step and may raise."""
        for index, prompt in enumerate(self.prompts):
            latents = self._latents(prompt, index, check)
            path = sample_path(self.output_dir, self.output_name, label, index, prompt.seed)
            with disk_errors(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                to_image(self.vae, latents).save(path)

    def _latents(self, prompt: SamplePrompt, index: int, check: Callable[[], None]) -> Tensor:
        device = next(self.vae.parameters()).device
        with autocast(device, self.dtype):
            prompt_embeds = self.texts.conditioning(prompt.prompt, device)
            negative_embeds = self.texts.conditioning(prompt.negative_prompt, device) if prompt.scale != 1.0 else None
            return sample_latents(self.flux, prompt, prompt_embeds, negative_embeds, initial_noise(prompt, index, self.seed), check)


def schedule(num_steps: int, num_tokens: int, *, is_dev: bool) -> Tensor:
    """Return the noise levels from 1 to 0: (num_steps + 1,); dev's are shifted by exp(mu) of the resolution, schnell's are even."""
    even = torch.linspace(1, 0, num_steps + 1)
    return shifted(even, float(np.exp(resolution_mu(num_tokens)))) if is_dev else even


def sample_latents(
    flux: Flux,
    prompt: SamplePrompt,
    prompt_embeds: Conditioning,
    negative_embeds: Conditioning | None,
    noise: Tensor,
    check: Callable[[], None] = lambda: None,
) -> Tensor:
    """Integrate from noise to an image's latents by Euler steps: (1, 16, H, W) -> the same, float32.

    `negative_embeds` turn classifier-free guidance on. `check` is called before every step and may raise.
    """
    height, width = noise.shape[-2:]
    device = next(flux.parameters()).device
    x = pack_latents(noise).to(device)
    ids = image_ids(1, height, width, device)
    levels = schedule(prompt.sample_steps, x.shape[1], is_dev=flux.params.guidance_embed)
    guidance = torch.full((1,), prompt.guidance_scale, device=device) if flux.params.guidance_embed else None
    for now, after in zip(levels[:-1].tolist(), levels[1:].tolist(), strict=True):
        check()
        time = torch.full((1,), now, device=device)

        def velocity(text: Conditioning, x: Tensor = x, time: Tensor = time) -> Tensor:
            text_positions = text_ids(1, text.context.shape[1], device)
            return flux(x, ids, text.context, text_positions, time, text.pooled, guidance, text.mask).float()

        v = velocity(prompt_embeds)
        if negative_embeds is not None:
            unguided = velocity(negative_embeds)
            v = unguided + prompt.scale * (v - unguided)
        x = x + (after - now) * v
    return unpack_latents(x, height, width)


def initial_noise(prompt: SamplePrompt, index: int, seed: int | None) -> Tensor:
    """Draw a prompt's starting noise (1, 16, H/8, W/8): from its own seed, else from the run's seed and its index in the list."""
    own = prompt.seed if prompt.seed is not None else derived_seed(seed or 0, "sample", index)
    return torch.randn(1, 16, prompt.height // 8, prompt.width // 8, generator=torch.Generator().manual_seed(own))


def to_image(vae: VAE, latents: Tensor) -> Image.Image:
    """Decode (1, 16, h, w) latents into an image."""
    parameter = next(vae.parameters())
    pixels = vae.decode(latents.to(parameter)).float().clamp(-1, 1)[0].permute(1, 2, 0)
    return Image.fromarray(((pixels + 1) * 127.5).round().byte().cpu().numpy())


def sample_path(output_dir: Path, name: str, label: str, index: int, seed: int | None) -> Path:
    """Return kohya's file name of a sample; label is a step "000120" or an epoch "e000004"."""
    stamp = datetime.now().strftime("%Y%m%d%H%M%S")
    return output_dir / SAMPLE_FOLDER / sample_name(name, label, index, stamp=stamp, seed=seed)

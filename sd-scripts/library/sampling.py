"""Sample images: the prompts' text, Euler steps, PNG files in `sample/`.

Sampling does not change the training: its noise comes from generators of its own.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn

from fluxgym.contract.files import SAMPLE_FOLDER, parse_sample_name, sample_name
from library.files import disk_errors
from library.models.family import LatentGeometry, ModelFamily, Part, StepInputs, TextEncoders
from library.placement.layout import autocast
from library.randomness import derived_seed
from library.sample_prompts import SamplePrompt


class PromptTexts:
    """The encoded texts of sample prompts; what the network trains is encoded again for each image."""

    def __init__(self, family: ModelFamily, encoders: TextEncoders, prompts: Sequence[SamplePrompt], train: frozenset[Part]) -> None:
        """`train` are the text encoders that the network trains."""
        self._family, self._encoders = family, encoders if train else None
        self._tokenized, self._encodes_again = train & family.tokenized_parts, not train <= family.tokenized_parts
        texts = [text for prompt in prompts for text in (prompt.prompt, prompt.negative_prompt)]
        self._texts = {text: family.encode_text(encoders, [text], self._tokenized) for text in dict.fromkeys(texts)}

    def conditioning(self, text: str, device: torch.device) -> dict[str, Tensor]:
        """Return the tensors of one text of the prompts, on the device of the transformer."""
        stored = self._texts[text]
        if self._encodes_again:
            assert self._encoders is not None
            stored = self._family.encode_text(self._encoders, [text], self._tokenized)
        return self._family.finish_text({name: tensor.to(device) for name, tensor in stored.items()}, self._encoders)


class ImageSampler:
    """Draws every prompt of a training and writes kohya's files."""

    def __init__(
        self,
        *,
        family: ModelFamily,
        transformer: nn.Module,
        vae: nn.Module,
        prompts: Sequence[SamplePrompt],
        texts: PromptTexts,
        seed: int,
        dtype: torch.dtype,
        output_dir: Path,
        output_name: str,
    ) -> None:
        """`seed` is the run's, for prompts without a seed; `dtype` is the precision of the transformer's arithmetic."""
        self.family, self.transformer, self.vae, self.prompts, self.texts = family, transformer, vae, prompts, texts
        self.seed, self.dtype, self.output_dir, self.output_name = seed, dtype, output_dir, output_name

    def has_images(self, label: str) -> bool:
        """Return True if every image of a label ("000120", "e000004") is written."""
        names = map(parse_sample_name, (path.name for path in (self.output_dir / SAMPLE_FOLDER).glob("*.png")))
        written = {name.index for name in names if name is not None and (name.output_name, name.label) == (self.output_name, label)}
        return written.issuperset(range(len(self.prompts)))

    @torch.no_grad()
    def draw(self, label: str, check: Callable[[], None]) -> None:
        """Draw every prompt; `check` is called before every sampling step and may raise."""
        for index, prompt in enumerate(self.prompts):
            latents = self._latents(prompt, index, check)
            path = sample_path(self.output_dir, self.output_name, label, index, prompt.seed)
            with disk_errors(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                to_image(self.family.decode_latents(self.vae, latents)).save(path)

    def _latents(self, prompt: SamplePrompt, index: int, check: Callable[[], None]) -> Tensor:
        device = next(self.vae.parameters()).device
        with autocast(device, self.dtype):
            text = self.texts.conditioning(prompt.prompt, device)
            negative_text = self.texts.conditioning(prompt.negative_prompt, device) if prompt.scale != 1.0 else None
            encoded = EncodedPrompt(prompt=prompt, text=text, negative_text=negative_text)
            noise = initial_noise(self.family.geometry, prompt, index, self.seed)
            return sample_latents(self.family, self.transformer, encoded, noise, check)


@dataclass(frozen=True, kw_only=True)
class EncodedPrompt:
    """A prompt with the tensors of its text and, for classifier-free guidance, of its negative prompt."""

    prompt: SamplePrompt
    text: Mapping[str, Tensor]
    negative_text: Mapping[str, Tensor] | None = None


def sample_latents(
    family: ModelFamily, transformer: nn.Module, encoded: EncodedPrompt, noise: Tensor, check: Callable[[], None] = lambda: None
) -> Tensor:
    """Integrate from noise to an image's latents by Euler steps: (1, C, H, W) -> the same, float32.

    `check` is called before every step and may raise.
    """
    prompt = encoded.prompt
    device = next(transformer.parameters()).device
    x = noise.to(device)
    sigmas = family.sampling_sigmas(prompt.sample_steps, (noise.shape[-2], noise.shape[-1])).tolist()
    for now, after in pairwise(sigmas):
        check()
        time = torch.full((1,), now, device=device)

        def velocity(text: Mapping[str, Tensor], x: Tensor = x, time: Tensor = time) -> Tensor:
            inputs = StepInputs(noisy=x, sigmas=time, text=text, guidance=prompt.guidance_scale)
            return family.predict_velocity(transformer, inputs).float()

        v = velocity(encoded.text)
        if encoded.negative_text is not None:
            unguided = velocity(encoded.negative_text)
            v = unguided + prompt.scale * (v - unguided)
        x = x + (after - now) * v
    return x


def initial_noise(geometry: LatentGeometry, prompt: SamplePrompt, index: int, seed: int | None) -> Tensor:
    """Draw a prompt's starting noise (1, C, h, w): from its own seed, else from the run's seed and its index in the list."""
    own = prompt.seed if prompt.seed is not None else derived_seed(seed or 0, "sample", index)
    shape = geometry.channels, *geometry.latent_size(prompt.width, prompt.height)
    return torch.randn(1, *shape, generator=torch.Generator().manual_seed(own))


def to_image(pixels_BCHW: Tensor) -> Image.Image:
    """Turn pixels (1, 3, H, W) in [-1, 1], clamped to it, into an image."""
    pixels = pixels_BCHW.clamp(-1, 1)[0].permute(1, 2, 0)
    return Image.fromarray(((pixels + 1) * 127.5).round().byte().cpu().numpy())


def sample_path(output_dir: Path, name: str, label: str, index: int, seed: int | None) -> Path:
    """Return kohya's file name of a sample; label is a step "000120" or an epoch "e000004"."""
    stamp = datetime.now().strftime("%Y%m%d%H%M%S")
    return output_dir / SAMPLE_FOLDER / sample_name(name, label, index, stamp=stamp, seed=seed)

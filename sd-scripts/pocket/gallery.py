"""Generates images with the model files of a folder, with or without a LoRA, for regularization images and checks of a training."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from library.config import ModelConfig
from library.models.family import DeviceStore
from library.models.flux1.layer_names import CLIP_PREFIX, FLUX_PREFIX
from library.models.flux1.text_encoders import CLIP
from library.models.registry import find_family
from library.sample_prompts import SamplePrompt
from library.sampling import EncodedPrompt, initial_noise, sample_latents, to_image
from library.weights.safetensors_file import open_weights
from networks.lora_flux import LoRASpec, create_network
from networks.low_rank import ALPHA, DOWN
from pocket.vae import PIXELS

DEVICE = torch.device("cpu")


class Gallery:
    """The four networks of a model folder in float32 on the CPU, with an optional LoRA."""

    def __init__(self, models: Path, lora: Path | None = None) -> None:
        files = ModelConfig(
            pretrained_model_name_or_path=str(models / "flux.safetensors"),
            ae=str(models / "ae.safetensors"),
            clip_l=str(models / "clip_l.safetensors"),
            t5xxl=str(models / "t5xxl.safetensors"),
        )
        self.family, store = find_family(files), DeviceStore(DEVICE)
        self.encoders = self.family.load_text_encoders(files, store, torch.float32)
        self.flux = self.family.load_transformer(files, store, torch.float32)
        self.vae = self.family.load_vae(files, torch.float32, DEVICE)
        if lora is not None:
            self._attach(lora)

    def _attach(self, path: Path) -> None:
        weights = {name: tensor.float() for name, tensor in open_weights(path, "the LoRA").items()}
        down = next(tensor for name, tensor in weights.items() if name.endswith(DOWN))
        alpha = next(tensor for name, tensor in weights.items() if name.endswith(ALPHA))
        trains_clip = any(name.startswith(CLIP_PREFIX) for name in weights)
        models = {FLUX_PREFIX: self.flux} | ({CLIP_PREFIX: self.encoders.parts()[CLIP]} if trains_clip else {})
        create_network(models, LoRASpec(rank=down.shape[0], alpha=alpha.item()), seed=0).load(weights, str(path))

    @torch.no_grad()
    def draw(self, prompts: Iterable[SamplePrompt]) -> Tensor:
        """Generate one image per prompt, all of one size -> (n, 16, h, w) latents."""
        return torch.cat([self._draw_one(prompt, index) for index, prompt in enumerate(prompts)])

    def _draw_one(self, prompt: SamplePrompt, index: int) -> Tensor:
        text = self.family.encode_text(self.encoders, [prompt.prompt], frozenset())
        noise = initial_noise(self.family.geometry, prompt, index, None)
        return sample_latents(self.family, self.flux, EncodedPrompt(prompt=prompt, text=text), noise)

    @torch.no_grad()
    def pixels(self, latents: Tensor) -> np.ndarray:
        """Decode (n, 16, h, w) latents -> (n, H, W, 3) uint8."""
        return np.stack([np.asarray(to_image(self.family.decode_latents(self.vae, each[None]))) for each in latents])


def prompts_of(texts: Iterable[str], first_seed: int) -> list[SamplePrompt]:
    """Return one prompt per text, of PIXELS x PIXELS pixels, with consecutive seeds."""
    return [SamplePrompt(prompt=text, width=PIXELS, height=PIXELS, seed=first_seed + index) for index, text in enumerate(texts)]

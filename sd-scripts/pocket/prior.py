"""Pictures that the finished pocket model draws of what it knows: the regularisation set that keeps a LoRA from making it forget."""

from pathlib import Path

import numpy as np
import torch

from library.autoencoder import load_autoencoder
from library.flux_model import load_flux
from library.sampling import Conditioning, SamplePrompt, draw_latents, noise_of, to_image
from library.text_encoders import load_text_encoders
from pocket.photos import SUBJECTS
from pocket.scenes import random_pattern, random_shape
from pocket.vae import PIXELS

NUM_SHAPES, NUM_PATTERNS, NUM_PHOTOS = 60, 8, 12


def captions() -> list[str]:
    """Return what the pictures show, the same at every call."""
    random = np.random.default_rng(6)
    shapes = [random_shape(random, PIXELS).caption for _ in range(NUM_SHAPES)]
    patterns = [random_pattern(random, PIXELS).caption for _ in range(NUM_PATTERNS)]
    return shapes + patterns + [f"a photo of {subject}" for subject in list(SUBJECTS.values())[:NUM_PHOTOS]]


@torch.no_grad()
def draw_prior(models: Path, folder: Path, *, dtype: torch.dtype = torch.float32) -> None:
    """Draw one picture a caption with the model's own files, and write NNN.png and NNN.txt into `folder`."""
    device = torch.device("cpu")
    encoders = load_text_encoders(
        str(models / "clip_l.safetensors"),
        str(models / "t5xxl.safetensors"),
        cache_dir=None,
        t5_max_length=512,
        with_mask=False,
        dtype=dtype,
        device=device,
    )
    flux = load_flux(str(models / "flux.safetensors"), dtype=dtype, device=device)
    vae = load_autoencoder(str(models / "ae.safetensors"), dtype=dtype, device=device)
    folder.mkdir(parents=True, exist_ok=True)
    for index, caption in enumerate(captions()):
        prompt = SamplePrompt(prompt=caption, width=PIXELS, height=PIXELS, seed=1000 + index)
        states = encoders.states(caption)
        latents = draw_latents(flux, prompt, Conditioning(states.context, states.pooled), None, noise_of(prompt, index, None))
        to_image(vae, latents).save(folder / f"{index:03d}.png")
        (folder / f"{index:03d}.txt").write_text(caption)

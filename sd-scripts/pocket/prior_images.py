"""Images that the finished pocket model draws of what it knows: the regularization set that keeps a LoRA from making it forget."""

from pathlib import Path

import numpy as np
from PIL import Image

from pocket.gallery import Gallery, prompts_of
from pocket.images import SUBJECTS
from pocket.scenes import random_pattern, random_shape
from pocket.vae import PIXELS

NUM_SHAPES, NUM_PATTERNS, NUM_PHOTOS = 60, 8, 12


def captions() -> list[str]:
    """Return what the images show, the same at every call."""
    random = np.random.default_rng(6)
    shapes = [random_shape(random, PIXELS).caption for _ in range(NUM_SHAPES)]
    patterns = [random_pattern(random, PIXELS).caption for _ in range(NUM_PATTERNS)]
    return shapes + patterns + [f"a photo of {subject}" for subject in list(SUBJECTS.values())[:NUM_PHOTOS]]


def draw_prior(models: Path, folder: Path) -> None:
    """Draw one image per caption with the model's own files, and write NNN.png and NNN.txt into `folder`."""
    gallery, texts = Gallery(models), captions()
    folder.mkdir(parents=True, exist_ok=True)
    for index, pixels in enumerate(gallery.pixels(gallery.draw(prompts_of(texts, first_seed=1000)))):
        Image.fromarray(pixels).save(folder / f"{index:03d}.png")
        (folder / f"{index:03d}.txt").write_text(texts[index])

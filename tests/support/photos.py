"""Real photos for tests: crops of scikit-image's cat, with captions."""

from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data


def write_cats(folder: Path, count: int = 4, size: int = 96, caption: str = "sks cat") -> Path:
    """Write `count` crops of chelsea as .png with .txt captions into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    cat = Image.fromarray(data.chelsea())
    random = np.random.default_rng(0)
    for index in range(count):
        left, top = int(random.integers(0, cat.width - 200)), int(random.integers(0, cat.height - 200))
        cat.crop((left, top, left + 200, top + 200)).resize((size, size)).save(folder / f"cat {index}.png")
        (folder / f"cat {index}.txt").write_text(f"{caption}, crop {index}")
    return folder

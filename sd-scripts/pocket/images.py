"""Crops of the freely licensed photos that scikit-image and scikit-learn bundle, with captions.

The cat (`chelsea`) is excluded because the example LoRA teaches it.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from pocket.scenes import Scene

SUBJECTS = {
    "astronaut.png": "an astronaut in an orange suit",
    "coffee.png": "a cup of coffee with a spoon",
    "rocket.jpg": "a rocket on its launch pad",
    "hubble_deep_field.jpg": "galaxies in deep space",
    "motorcycle_left.png": "a motorcycle in a garage",
    "retina.jpg": "a retina",
    "ihc.png": "stained cells",
    "brick.png": "a grey brick wall",
    "grass.png": "grey grass",
    "gravel.png": "grey gravel",
    "moon.png": "the surface of the moon",
    "coins.png": "old coins",
    "china.jpg": "a chinese temple",
    "flower.jpg": "an orange flower",
}


@dataclass(frozen=True)
class Photo:
    """A photo and its subject, for captions."""

    image: Image.Image
    subject: str


def bundled_photos() -> list[Photo]:
    """Open every photo of SUBJECTS from the installed packages."""
    import skimage.data
    import sklearn.datasets

    folders = [Path(skimage.data.data_dir), Path(sklearn.datasets.__file__).parent / "images"]
    paths = {name: next(folder / name for folder in folders if (folder / name).is_file()) for name in SUBJECTS}
    return [Photo(Image.open(path).convert("RGB"), SUBJECTS[name]) for name, path in paths.items()]


def random_crop(random: np.random.Generator, photos: list[Photo], size: int, *, smallest: float = 0.45) -> Scene:
    """Return a random square crop, resized to size x size and mirrored with probability 0.5.

    The side of the crop is `smallest` to 1.0 times the short side of the photo.
    """
    photo = photos[random.integers(len(photos))]
    short = min(photo.image.size)
    side = int(short * random.uniform(smallest, 1.0))
    left, top = (int(random.integers(0, extent - side + 1)) for extent in photo.image.size)
    crop = photo.image.resize((size, size), Image.Resampling.LANCZOS, box=(left, top, left + side, top + side))
    if random.random() < 0.5:
        crop = ImageOps.mirror(crop)
    return Scene(np.asarray(crop), f"a photo of {photo.subject}")

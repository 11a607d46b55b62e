"""Changes of pictures from step to step: colours, and cuts around a face. Every draw comes from the picture's own generator."""

import re
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from library.data.buckets import Fit, Size
from library.data.dataset_config import Subset

COLOR_CHANCE, HUE_CHANCE = 0.33, 0.5
MAX_HUE_SHIFT = 8 / 180  # of the circle
GAMMAS = 0.95, 1.05
LEAST_FACE = 40  # pixels; smaller faces are not moved about
FACE_IN_NAME = re.compile(r"_(\d+)_(\d+)_(\d+)_(\d+)$")


def change_colors(image: Image.Image, random: torch.Generator) -> Image.Image:
    """Return an RGB picture with, in a third of the cases, its hue turned by up to 16 degrees or a gamma of 0.95 to 1.05.

    The gamma is taken of values in 0 to 1; kohya takes it of 0 to 255, which changes brightness by a quarter.
    """
    chance, kind, amount = torch.rand(3, generator=random, dtype=torch.float64).tolist()
    if chance >= COLOR_CHANCE:
        return image
    if kind < HUE_CHANCE:
        return _turn_hue(image, (2 * amount - 1) * MAX_HUE_SHIFT)
    gamma = GAMMAS[0] + amount * (GAMMAS[1] - GAMMAS[0])
    return image.point([round(255 * (value / 255) ** gamma) for value in range(256)] * 3)


def _turn_hue(image: Image.Image, turn: float) -> Image.Image:
    """Add `turn` (1 is the whole circle) to every pixel's hue."""
    hue, saturation, value = image.convert("HSV").split()
    hue = hue.point([(level + round(turn * 256)) % 256 for level in range(256)])
    return Image.merge("HSV", (hue, saturation, value)).convert("RGB")


def face_of(path: Path) -> tuple[int, int, int, int] | None:
    """Return centre x, y and width, height of a face in upright pixels, as kohya's tools write them into a name; None without."""
    match = FACE_IN_NAME.search(path.stem)
    return tuple(int(number) for number in match.groups()) if match and match.start() else None


def fit_face(size: Size, bucket: Size, face: tuple[int, int, int, int], subset: Subset, random: torch.Generator) -> tuple[Fit, np.ndarray]:
    """Draw how large a face becomes and where the cut around it lies -> the fit, and the cut's (x, y) as shares of what is left over.

    The face fills 1/range of the shorter side, as far as the picture covers the bucket and is not enlarged for the face's sake.
    """
    low, high = subset.face_crop_aug_range
    face_size, side = max(face[2], face[3], 1), min(bucket)
    least = max(bucket[0] / size[0], bucket[1] / size[1])
    smallest = max(least, min(1.0, side / (face_size * high)))
    largest = max(smallest, min(1.0, side / (face_size * low)))
    scale = smallest + (largest - smallest) * torch.rand((), generator=random, dtype=torch.float64).item()
    resized = tuple(max(bucket[axis], round(size[axis] * scale)) for axis in range(2))
    starts = [_start(face[axis] * scale, resized[axis], bucket[axis], face_size, side, subset, random) for axis in range(2)]
    left_over = np.maximum(1, np.subtract(resized, bucket))
    return Fit(bucket, resized), np.clip(starts, 0, left_over) / left_over


def _start(
    center: float, length: int, target: int, face_size: int, side: int, subset: Subset, random: torch.Generator
) -> float:  # fmt: skip
    """Where the cut begins on one axis: the face in the middle, moved by a twentieth of it, or far about with random_crop."""
    start = center - target // 2
    if subset.random_crop:
        reach = max(length - center, center)
        return start + reach * (torch.rand(2, generator=random, dtype=torch.float64).sum().item() - 1)
    low, high = subset.face_crop_aug_range
    if low != high and face_size > side // 10 and face_size >= LEAST_FACE:
        start += face_size / 20 * (2 * torch.rand((), generator=random, dtype=torch.float64).item() - 1)
    return start

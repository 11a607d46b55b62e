"""One image as pixels and mask: crop, color changes and flips."""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fluxgym.contract.buckets import Fit, Size
from library.data.image_index import TrainingImage
from library.data.images import read_image, read_with_alpha, resize_and_crop, to_pixels
from library.data.masks import read_mask, to_latent_size
from library.data.schema import Subset

MIDDLE = 0.5, 0.5
NO_FACE_RANGE = (1.0, 1.0)
COLOR_CHANCE, HUE_CHANCE = 0.33, 0.5
MAX_HUE_SHIFT = 8 / 180  # of the circle
GAMMAS = 0.95, 1.05
MIN_FACE = 40  # pixels; smaller faces are not shifted
FACE_IN_NAME = re.compile(r"_(\d+)_(\d+)_(\d+)_(\d+)$")


def load_pixels(training_image: TrainingImage, flip: bool, random: torch.Generator) -> tuple[Tensor, Tensor | None]:
    """Return an image as (3, H, W) in [-1, 1] and its mask as (H/8, W/8) in [0, 1], or None without one.

    Crops and colors are drawn from `random`, only if the subset enables them.

    Raises:
        TrainerError: Naming a file that cannot be read.
    """
    image, mask = _read(training_image)
    fit, offset = _crop(training_image, random)
    interpolation = training_image.subset.resize_interpolation
    image = resize_and_crop(image, fit, interpolation, offset)
    if training_image.subset.color_aug:
        image = change_colors(image, random)
    pixels = to_pixels(image)
    weights = None if mask is None else to_latent_size(resize_and_crop(mask, fit, interpolation, offset))
    if flip:
        return pixels.flip(-1), None if weights is None else weights.flip(-1)
    return pixels, weights


def _read(training_image: TrainingImage) -> tuple[Image.Image, Image.Image | None]:
    if training_image.subset.alpha_mask:
        return read_with_alpha(training_image.path)
    if training_image.mask_path is not None:
        return read_image(training_image.path), read_mask(training_image.mask_path, training_image.path, training_image.size)
    return read_image(training_image.path), None


def _crop(training_image: TrainingImage, random: torch.Generator) -> tuple[Fit, tuple[float, float]]:
    """Return how the image is resized, and the crop's (x, y) as shares of the remaining space."""
    subset = training_image.subset
    if subset.face_crop_aug_range and (face := face_of(training_image.path)):
        return fit_face(training_image.size, training_image.fit.bucket, face, subset, random)
    if subset.random_crop:
        x, y = torch.rand(2, generator=random).tolist()
        return training_image.fit, (x, y)
    return training_image.fit, MIDDLE


def change_colors(image: Image.Image, random: torch.Generator) -> Image.Image:
    """Return an RGB image with, in a third of the cases, its hue rotated by up to 16 degrees or a gamma of 0.95 to 1.05.

    The gamma applies to values of 0 to 1; kohya applies it to 0 to 255, which changes brightness by a quarter.
    """
    chance, kind, amount = torch.rand(3, generator=random, dtype=torch.float64).tolist()
    if chance >= COLOR_CHANCE:
        return image
    if kind < HUE_CHANCE:
        return _turn_hue(image, (2 * amount - 1) * MAX_HUE_SHIFT)
    gamma = GAMMAS[0] + amount * (GAMMAS[1] - GAMMAS[0])
    return image.point([round(255 * (value / 255) ** gamma) for value in range(256)] * 3)


def _turn_hue(image: Image.Image, turn: float) -> Image.Image:
    """Rotate every pixel's hue by `turn` (1 is the full circle)."""
    hue, saturation, value = image.convert("HSV").split()
    hue = hue.point([(level + round(turn * 256)) % 256 for level in range(256)])
    return Image.merge("HSV", (hue, saturation, value)).convert("RGB")


def face_of(path: Path) -> tuple[int, int, int, int] | None:
    """Return center x, y, width and height of a face in upright pixels, as kohya's tools write them into a file name; None without."""
    match = FACE_IN_NAME.search(path.stem)
    if not match or not match.start():
        return None
    x, y, width, height = (int(number) for number in match.groups())
    return x, y, width, height


def fit_face(
    size: Size, bucket: Size, face: tuple[int, int, int, int], subset: Subset, random: torch.Generator
) -> tuple[Fit, tuple[float, float]]:
    """Draw the size of a face and the crop around it; return the fit, and the crop's (x, y) as shares of the remaining space.

    The face fills 1/range of the shorter side, within the limits that the image covers the bucket and is not enlarged for the face.
    """
    low, high = subset.face_crop_aug_range or NO_FACE_RANGE
    face_size, side = max(face[2], face[3], 1), min(bucket)
    least = max(bucket[0] / size[0], bucket[1] / size[1])
    smallest = max(least, min(1.0, side / (face_size * high)))
    largest = max(smallest, min(1.0, side / (face_size * low)))
    scale = smallest + (largest - smallest) * torch.rand((), generator=random, dtype=torch.float64).item()
    resized = max(bucket[0], round(size[0] * scale)), max(bucket[1], round(size[1] * scale))
    axes = [_Axis(face[axis] * scale, resized[axis], bucket[axis]) for axis in range(2)]
    jitter = face_size / 20 if low != high and face_size > side // 10 and face_size >= MIN_FACE else 0.0
    starts = [_random_start(axis, random) if subset.random_crop else _start(axis, jitter, random) for axis in axes]
    left_over = np.maximum(1, np.subtract(resized, bucket))
    x, y = (np.clip(starts, 0, left_over) / left_over).tolist()
    return Fit(bucket, resized), (x, y)


class _Axis(NamedTuple):
    """One axis of a crop in pixels: the face's center, the image's length and the crop's."""

    center: float
    length: int
    target: int


def _random_start(axis: _Axis, random: torch.Generator) -> float:
    """Return where the crop starts with random_crop: the face is more often near the center."""
    reach = max(axis.length - axis.center, axis.center)
    return axis.center - axis.target // 2 + reach * (torch.rand(2, generator=random, dtype=torch.float64).sum().item() - 1)


def _start(axis: _Axis, jitter: float, random: torch.Generator) -> float:
    """Return where the crop starts with the face centered, shifted by up to `jitter` pixels."""
    start = axis.center - axis.target // 2
    return start + jitter * (2 * torch.rand((), generator=random, dtype=torch.float64).item() - 1) if jitter else start

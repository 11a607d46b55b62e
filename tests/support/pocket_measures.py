"""Measures of the pocket model: agreement of images with their prompts, and distance of samples to training images."""

import numpy as np
import torch
from torch import Tensor

from pocket.scenes import COLORS

BORDER = 6  # width in pixels of the border of a 64-pixel image that no shape reaches


def nearest_rms(samples: Tensor, references: Tensor) -> Tensor:
    """Return each sample's root-mean-square distance to its nearest reference: (n, ...) and (m, ...) -> (n,)."""
    rms: Tensor = torch.cdist(samples.flatten(1), references.flatten(1)).amin(1) / samples[0].numel() ** 0.5
    return rms


def num_nearest_to(samples: Tensor, targets: Tensor, others: Tensor) -> int:
    """Return how many samples have their nearest neighbor in `targets` and not in `others`."""
    return int((nearest_rms(samples, targets) < nearest_rms(samples, others)).sum())


def colors_seen(pixels: np.ndarray) -> tuple[str, str]:
    """Return the names of an image's background and foreground color: (H, W, 3) uint8 -> ("purple", "yellow").

    Each pixel is assigned to the nearest color of COLORS. The background is the most frequent color of the border, the foreground the most
    frequent other color of the image.
    """
    palette = np.array(list(COLORS.values()), dtype=np.float32)
    distances = ((pixels[:, :, None, :].astype(np.float32) - palette) ** 2).sum(-1)
    nearest = distances.argmin(-1)
    border = np.concatenate(
        [nearest[:BORDER].ravel(), nearest[-BORDER:].ravel(), nearest[:, :BORDER].ravel(), nearest[:, -BORDER:].ravel()]
    )
    background = np.bincount(border, minlength=len(palette)).argmax()
    counts = np.bincount(nearest.ravel(), minlength=len(palette))
    counts[background] = 0
    names = list(COLORS)
    return names[background], names[counts.argmax()]

"""How well the pocket Flux draws what it was asked for, and how close a LoRA has brought it to its training images.

Pure functions of pixels and latents; drawing them is not their business.
"""

import numpy as np
import torch
from torch import Tensor

from pocket.scenes import COLOURS

BORDER = 6  # pixels of a 64-pixel image that no shape of the scenes reaches


def nearest_rms(samples: Tensor, references: Tensor) -> Tensor:
    """Return each sample's root-mean-square distance to its nearest reference: (n, ...) and (m, ...) -> (n,)."""
    return torch.cdist(samples.flatten(1), references.flatten(1)).amin(1) / samples[0].numel() ** 0.5


def num_nearest_to(samples: Tensor, wanted: Tensor, others: Tensor) -> int:
    """Count the samples whose nearest neighbour among `wanted` and `others` is one of `wanted`."""
    return int((nearest_rms(samples, wanted) < nearest_rms(samples, others)).sum())


def colors_seen(pixels: np.ndarray) -> tuple[str, str]:
    """Return the names of an image's background and foreground color: (H, W, 3) uint8 -> ("purple", "yellow").

    Every pixel counts for its nearest color of the scenes' palette; the background is what most of the border is, the foreground what
    most of the rest of the image is.
    """
    palette = np.array(list(COLOURS.values()), dtype=np.float32)
    distances = ((pixels[:, :, None, :].astype(np.float32) - palette) ** 2).sum(-1)
    nearest = distances.argmin(-1)
    border = np.concatenate(
        [nearest[:BORDER].ravel(), nearest[-BORDER:].ravel(), nearest[:, :BORDER].ravel(), nearest[:, -BORDER:].ravel()]
    )
    background = np.bincount(border, minlength=len(palette)).argmax()
    counts = np.bincount(nearest.ravel(), minlength=len(palette))
    counts[background] = 0
    names = list(COLOURS)
    return names[background], names[counts.argmax()]

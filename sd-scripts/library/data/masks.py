"""Masks of the loss: which part of an image is trained, white in whole and black not at all.

They come from an image's alpha channel (alpha_mask) or from images of the same names in conditioning_data_dir, are fitted and cut as the
image is, and are averaged to the size of its latents. Shape suffixes: H W pixels, h w latents.
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from fluxgym.contract.buckets import Size
from fluxgym.contract.dataset_rules import IMAGE_EXTENSIONS
from library.data.images import list_images, read_image
from library.errors import TrainerError

LATENT = 8  # pixels of a latent a side
ASPECT_TOLERANCE = 0.02


def masks_by_stem(folder: str) -> dict[str, Path]:
    """Return a folder's masks by their names without the ending."""
    return {path.stem: path for path in list_images(folder)}


def mask_of(image: Path, masks: dict[str, Path], folder: str) -> Path:
    """Return the mask with an image's name; raises TrainerError when there is none."""
    if image.stem not in masks:
        raise TrainerError(f"{image} has no mask: {folder} holds no {image.stem}{IMAGE_EXTENSIONS[0]}.")
    return masks[image.stem]


def read_mask(path: Path, image: Path, size: Size) -> Image.Image:
    """Return a mask's red channel (L), as kohya takes it; raises TrainerError for one that is not shaped like its image."""
    mask = read_image(path).getchannel("R")
    if abs(mask.width * size[1] / (mask.height * size[0]) - 1) > ASPECT_TOLERANCE:
        raise TrainerError(
            f"the mask {path} is {mask.width}x{mask.height}, but {image} is {size[0]}x{size[1]}; a mask has its image's shape."
        )
    return mask


def to_latent_size(mask: Image.Image) -> Tensor:
    """Mask of a bucket's size (H, W) -> (h, w) float32 in [0, 1], each latent the mean of its pixels."""
    mask_HW = torch.from_numpy(np.asarray(mask, dtype=np.float32) / 255)
    return F.avg_pool2d(mask_HW[None, None], LATENT)[0, 0]


def stack_masks(masks: list[Tensor | None], height: int, width: int) -> Tensor | None:
    """Masks of a batch -> (B, 1, h, w); an image without one counts whole. None when no image has one."""
    if all(mask is None for mask in masks):
        return None
    whole = torch.ones(height, width)
    return torch.stack([whole if mask is None else mask.float() for mask in masks])[:, None]

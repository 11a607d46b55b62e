"""Loss masks: white areas of an image are trained fully, black ones not at all.

A mask is an image's alpha channel (alpha_mask) or an image of the same name in conditioning_data_dir. It is resized and cropped like the
image, and averaged to the size of the latents. Shape suffixes: H W pixels, h w latents.
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from fluxgym.contract.buckets import Size
from fluxgym.contract.masks import has_other_shape, missing_message, other_shape_message
from library.data.images import list_images, read_image
from library.errors import OnWarning, TrainerError

LATENT = 8  # pixels per side of one latent


def masks_by_stem(folder: str, on_warning: OnWarning) -> dict[str, Path]:
    """Return a folder's masks by file name without extension; `on_warning` is called as by list_images."""
    return {path.stem: path for path in list_images(folder, on_warning)}


def mask_of(image: Path, masks: dict[str, Path], folder: str) -> Path:
    """Return the mask with an image's name.

    Raises:
        TrainerError: If it is missing.
    """
    if image.stem not in masks:
        raise TrainerError(missing_message([image.name], folder))
    return masks[image.stem]


def read_mask(path: Path, image: Path, size: Size) -> Image.Image:
    """Return a mask's red channel (L), as kohya does.

    Raises:
        TrainerError: If its aspect ratio differs from the image's.
    """
    mask = read_image(path).getchannel("R")
    if has_other_shape(mask.size, size):
        raise TrainerError(other_shape_message(str(path), mask.size, str(image), size))
    return mask


def to_latent_size(mask: Image.Image) -> Tensor:
    """Return a mask of a bucket's size (H, W) as (h, w) float32 in [0, 1], each latent the mean of its pixels."""
    mask_HW = torch.from_numpy(np.asarray(mask, dtype=np.float32) / 255)
    return F.avg_pool2d(mask_HW[None, None], LATENT)[0, 0]


def stack_masks(masks: list[Tensor | None], height: int, width: int) -> Tensor | None:
    """Return the masks of a batch as (B, 1, h, w), ones for an image without a mask; None if no image has one."""
    if all(mask is None for mask in masks):
        return None
    whole = torch.ones(height, width)
    return torch.stack([whole if mask is None else mask.float() for mask in masks])[:, None]

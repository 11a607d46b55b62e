"""One picture of a data set as the tensors that a step takes: pixels and mask, cut, recoloured and mirrored alike."""

import torch
from PIL import Image
from torch import Tensor

from library.data.augmentation import change_colors, face_of, fit_face
from library.data.buckets import Fit
from library.data.masks import read_mask, to_latent_size
from library.data.pictures import fitted, read_picture, read_with_alpha, to_pixels
from library.data.pictures_found import Picture

MIDDLE = 0.5, 0.5


def load_pixels(picture: Picture, flip: bool, random: torch.Generator) -> tuple[Tensor, Tensor | None]:
    """Read a picture -> (3, H, W) in [-1, 1] and its mask (H/8, W/8) in [0, 1], None without one.

    Random cuts and colours are drawn from `random`, and only where the subset asks for them. Raises TrainerError naming a file that cannot be
    read.
    """
    image, mask = _read(picture)
    fit, offset = _cut(picture, random)
    interpolation = picture.subset.resize_interpolation
    image = fitted(image, fit, interpolation, offset)
    if picture.subset.color_aug:
        image = change_colors(image, random)
    pixels = to_pixels(image)
    weights = None if mask is None else to_latent_size(fitted(mask, fit, interpolation, offset))
    if flip:
        return pixels.flip(-1), None if weights is None else weights.flip(-1)
    return pixels, weights


def _read(picture: Picture) -> tuple[Image.Image, Image.Image | None]:
    if picture.subset.alpha_mask:
        return read_with_alpha(picture.path)
    if picture.mask_path is not None:
        return read_picture(picture.path), read_mask(picture.mask_path, picture.path, picture.size)
    return read_picture(picture.path), None


def _cut(picture: Picture, random: torch.Generator) -> tuple[Fit, tuple[float, float]]:
    """Return how the picture is resized and where it is cut, as shares of what is left over: (x, y)."""
    subset = picture.subset
    if subset.face_crop_aug_range and (face := face_of(picture.path)):
        return fit_face(picture.size, picture.fit.bucket, face, subset, random)
    if subset.random_crop:
        return picture.fit, tuple(torch.rand(2, generator=random).tolist())
    return picture.fit, MIDDLE

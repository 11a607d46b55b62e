"""Latents of the images in a folder, for comparing samples with training images."""

from pathlib import Path

import torch
from torch import Tensor

from fluxgym.contract.buckets import cover
from library.data.images import list_images, read_image, resize_and_crop, to_pixels
from library.errors import warn
from pocket.gallery import Gallery
from pocket.vae import PIXELS


@torch.no_grad()
def latents_of(gallery: Gallery, folder: Path) -> Tensor:
    """Encode the images of a folder with the gallery's VAE, cropped to squares -> (n, 16, h, w) latents."""
    images = [read_image(path) for path in list_images(str(folder), warn)]
    squares = [resize_and_crop(each, cover(each.size, (PIXELS, PIXELS)), "lanczos") for each in images]
    return torch.cat([gallery.family.encode_image(gallery.vae, to_pixels(each)[None], None) for each in squares])

"""Loss masks that cannot be used: missing ones, those of another shape, and those that let nothing be trained, with the messages of app and trainer."""

import os
from collections.abc import Sequence
from pathlib import Path

from fluxgym.contract.wording import counted, listed

ASPECT_TOLERANCE = 0.02


def masks_folder(masks: str, image_dir: str) -> str:
    """Return the folder of masks for a folder of images: the one of its name inside --conditioning_data_dir, else that folder itself."""
    inside = str(Path(masks, Path(image_dir).name))
    return inside if image_dir and os.path.isdir(inside) else masks  # noqa: PTH112 (unlike Path's it takes every name)


def has_other_shape(mask: tuple[int, int], image: tuple[int, int]) -> bool:
    """Return True if a mask of a (width, height) does not have the aspect ratio of an image, which may differ by ASPECT_TOLERANCE."""
    return abs(mask[0] * image[1] / (mask[1] * image[0]) - 1) > ASPECT_TOLERANCE


def missing_message(names: Sequence[str], folder: str) -> str:
    """Return which images have no mask in the folder of masks."""
    return f"{listed(names)} {'has' if len(names) == 1 else 'have'} no mask in {folder}; each image needs a mask of the same name there."


def other_shape_message(mask: str, mask_size: tuple[int, int], image: str, image_size: tuple[int, int]) -> str:
    """Return why a mask does not fit its image; the sizes are (width, height)."""
    sizes = f"{mask_size[0]}x{mask_size[1]}, but {image} is {image_size[0]}x{image_size[1]}"
    return f"The mask {mask} is {sizes}; a mask needs its image's aspect ratio."


def all_empty_message(*, is_alpha: bool) -> str:
    """Return why nothing would be learned: no image has an area that is trained."""
    if is_alpha:
        return (
            "All images are fully transparent, and alpha_mask trains opaque areas only, so nothing would be learned. Leave alpha_mask out."
        )
    return (
        "The masks of all images are black, and only lighter areas are trained, so nothing would be learned. Make the areas to train white."
    )


def some_empty_message(names: Sequence[str], *, is_alpha: bool) -> str:
    """Return which images teach nothing, because no area of them is trained."""
    why = f"{counted(len(names), 'image', 'is', 'are')} fully transparent, and alpha_mask trains opaque areas only"
    if not is_alpha:
        why = f"{counted(len(names), 'image', 'has', 'have')} a black mask, and only lighter areas of a mask are trained"
    return f"{why}, so {'it teaches' if len(names) == 1 else 'they teach'} nothing: {listed(names)}."

"""Loss masks that let nothing of an image be trained: black ones, and fully transparent images with alpha_mask. App and trainer share the messages."""

from collections.abc import Sequence
from pathlib import Path

from fluxgym.contract.wording import counted, listed


def masks_folder(masks: str, image_dir: str) -> str:
    """Return the folder of masks for a folder of images: the one of its name inside --conditioning_data_dir, else that folder itself."""
    inside = Path(masks, Path(image_dir).name)
    return str(inside) if image_dir and inside.is_dir() else masks


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

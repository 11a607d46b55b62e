"""Names the images of which no area is trained, because their masks are black or, with alpha_mask, they are fully transparent."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from fluxgym.contract.masks import all_empty_message, some_empty_message
from library.data.image_index import TrainingImage
from library.data.images import DECODERS_AT_ONCE, read_image, read_with_alpha
from library.errors import OnWarning, TrainerError


def check_masks(train: Sequence[TrainingImage], on_warning: OnWarning) -> None:
    """Report images of which no area is trained.

    Raises:
        TrainerError: If no image but regularization images has such an area.
    """
    masked = list({image.path: image for image in train if image.subset.alpha_mask or image.mask_path}.values())
    if not masked:
        return
    with ThreadPoolExecutor(DECODERS_AT_ONCE) as threads:
        empty = [image for image, is_empty in zip(masked, threads.map(_is_empty, masked), strict=True) if is_empty]
    paths = {image.path for image in empty}
    if paths and all(image.path in paths for image in train if not image.subset.is_reg):
        raise TrainerError(all_empty_message(is_alpha=empty[0].subset.alpha_mask))
    for is_alpha in (False, True):
        if names := [image.path.name for image in empty if image.subset.alpha_mask is is_alpha]:
            on_warning(some_empty_message(names, is_alpha=is_alpha))


def _is_empty(image: TrainingImage) -> bool:
    mask = read_with_alpha(image.path)[1] if image.mask_path is None else read_image(image.mask_path).getchannel("R")
    return mask.getextrema()[1] == 0

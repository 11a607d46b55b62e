"""Which values a data set cannot have, and which contradict each other or the command line: one sentence each, naming file, key and value."""

import dataclasses
import math
import re
from argparse import Namespace
from collections.abc import Mapping
from types import UnionType
from typing import TYPE_CHECKING, Any, get_args, get_origin

from fluxgym.contract.buckets import GRID
from library.errors import TrainerError, warn

if TYPE_CHECKING:
    from library.data.dataset_toml import Dataset, Subset

LIMITS = {
    "num_repeats": (1, 100_000), "keep_tokens": (0, math.inf), "caption_dropout_every_n_epochs": (0, math.inf),
    "caption_dropout_rate": (0, 1), "caption_tag_dropout_rate": (0, 1), "token_warmup_min": (0, math.inf),
    "token_warmup_step": (0, math.inf), "validation_split": (0, 1),
}  # fmt: skip
INTERPOLATIONS = ("lanczos", "nearest", "bilinear", "linear", "bicubic", "cubic", "area", "box")
KINDS = {
    int: "a whole number", float: "a number", str: "a text", bool: "true or false", dict: "a table", tuple: "two numbers, as [1.0, 3.0]",
}  # fmt: skip
FORBIDS_TEXT_CACHE = (
    "shuffle_caption", "caption_dropout_rate", "caption_tag_dropout_rate", "caption_dropout_every_n_epochs", "enable_wildcard",
    "token_warmup_step",
)  # fmt: skip
FORBIDS_LATENT_CACHE = ("random_crop", "color_aug", "face_crop_aug_range")
NO_EFFECT = {
    "network_multiplier": (1.0, "kohya's FLUX trainer ignores it too"),
    "cache_info": (False, "folders are read again at each start"),
}


def only_known(table: Any, known: set[str], place: str) -> None:
    """Refuse what is no table, and keys that nobody would read."""
    if not isinstance(table, Mapping):
        raise TrainerError(f"{place} is no table.")
    for key in table:
        if key not in known:
            raise TrainerError(f"{place}: {key} is not a known key.")


def check_type(field: dataclasses.Field, value: Any, place: str) -> None:
    """Hold a value against its field's type; a whole number is a float too, True is no number."""
    kind = field.type
    if isinstance(kind, UnionType):
        if value is None:
            return
        kind = next(each for each in get_args(kind) if each is not type(None))
    kind = get_origin(kind) or kind
    expected = {float: (int, float), tuple: (list, tuple)}.get(kind, kind)
    if not isinstance(value, expected) or (isinstance(value, bool) and kind is not bool):
        raise TrainerError(f"{place}: {field.name} must be {KINDS[kind]}, not {value!r}.")


def size_of(value: Any, place: str) -> tuple[int, int]:
    """Read a resolution, 512 or [768, 512], as (width, height)."""
    sides = [value] if isinstance(value, int) else value
    if sides is None:
        raise TrainerError(f"{place} has no resolution.")
    is_pair = isinstance(sides, list) and len(sides) in (1, 2) and all(_is_number(side, int) for side in sides)
    if not is_pair or any(not GRID <= side <= 8192 for side in sides):
        raise TrainerError(f"{place}: resolution {value} is no size; write 512 or [768, 512].")
    return sides[0], sides[-1]


def pair_of_numbers(value: Any, name: str, place: str) -> tuple[float, float]:
    """Read a range of two numbers above 0, the lower one first."""
    if len(value) != 2 or not all(_is_number(each, (int, float)) for each in value) or not 0 < value[0] <= value[1] < math.inf:
        raise TrainerError(f"{place}: {name} {list(value)} is no range; write the lower of two numbers above 0 first, as [1.0, 3.0].")
    return float(value[0]), float(value[1])


def _is_number(value: Any, kinds: type | tuple[type, ...]) -> bool:
    return isinstance(value, kinds) and not isinstance(value, bool)


def check_subset(subset: "Subset", place: str) -> None:
    """Refuse values outside their range, and keys of one subset that exclude each other."""
    for key, (low, high) in LIMITS.items():
        if not low <= (value := getattr(subset, key)) <= high:
            raise TrainerError(f"{place}: {key} {value} must be {f'at least {low}' if high == math.inf else f'between {low} and {high}'}.")
    if not re.fullmatch(r"\.[^/]*[^./]", subset.caption_extension):
        raise TrainerError(f"{place}: caption_extension {subset.caption_extension!r} is the end of no file's name; write .txt.")
    if not subset.caption_separator:
        raise TrainerError(f"{place}: caption_separator must not be empty.")
    if subset.resize_interpolation not in ("", *INTERPOLATIONS):
        raise TrainerError(f"{place}: resize_interpolation {subset.resize_interpolation} must be one of {', '.join(INTERPOLATIONS)}.")
    if subset.alpha_mask and subset.conditioning_data_dir:
        raise TrainerError(f"{place}: alpha_mask and conditioning_data_dir both give masks; leave one out.")
    if subset.metadata_file and subset.is_reg:
        raise TrainerError(f"{place}: is_reg and metadata_file exclude each other; give regularization images by their image_dir.")


def check_subset_against_flags(subset: "Subset", args: Namespace, place: str) -> None:
    """Refuse what changes from step to step beside the cache that would freeze it, and masks that nothing asks for."""
    if args.cache_text_encoder_outputs:
        for key in FORBIDS_TEXT_CACHE:
            if getattr(subset, key):
                raise TrainerError(f"{place}: {key} changes captions while training, so --cache_text_encoder_outputs must be left out.")
    if args.cache_latents:
        for key in FORBIDS_LATENT_CACHE:
            if getattr(subset, key):
                raise TrainerError(f"{place}: {key} changes images while training, so --cache_latents must be left out.")
    if subset.conditioning_data_dir and not args.masked_loss:
        raise TrainerError(f"{place}: conditioning_data_dir holds masks, which need --masked_loss.")


def check_dataset(dataset: "Dataset", place: str) -> None:
    """Refuse sizes and buckets that do not fit each other."""
    if dataset.batch_size < 1:
        raise TrainerError(f"{place}: batch_size {dataset.batch_size} must be at least 1.")
    if not dataset.enable_bucket:
        for side in dataset.resolution:
            if side % GRID:
                raise TrainerError(f"{place}: resolution {side} is no multiple of {GRID}; use {side // GRID * GRID or GRID}.")
        return
    if any(subset.face_crop_aug_range for subset in dataset.subsets):
        raise TrainerError(f"{place}: face_crop_aug_range cuts every image to the resolution, so enable_bucket must be left out.")
    step, smallest = dataset.bucket_reso_steps, min(dataset.resolution)
    if not GRID <= step <= smallest or step % GRID:
        raise TrainerError(f"{place}: bucket_reso_steps {step} must be a multiple of {GRID}, up to the resolution {smallest}.")
    if not dataset.min_bucket_reso <= smallest or not max(dataset.resolution) <= dataset.max_bucket_reso:
        raise TrainerError(
            f"{place}: min_bucket_reso {dataset.min_bucket_reso} and max_bucket_reso {dataset.max_bucket_reso} must enclose the resolution "
            f"{'x'.join(map(str, dataset.resolution))}."
        )


def warn_of_keys_without_effect(merged: Mapping[str, Any], place: str) -> None:
    """Print a line for every key that is accepted but changes nothing."""
    for key, (harmless, reason) in NO_EFFECT.items():
        if merged.get(key, harmless) != harmless:
            warn(f"{place}: {key} has no effect: {reason}")

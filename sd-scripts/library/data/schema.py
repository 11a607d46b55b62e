"""Data sets and subsets as frozen dataclasses with kohya's keys, and the checks of their values.

Each check raises TrainerError with a message that names file, key and value.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import Field, dataclass, field, fields, replace
from difflib import get_close_matches
from types import UnionType
from typing import Any, get_args, get_origin

from fluxgym.contract.buckets import GRID
from fluxgym.contract.control_characters import complaint_about
from fluxgym.contract.learning import learns_little
from fluxgym.contract.limits import MAX_BATCH, MAX_EPOCHS, MAX_SIDE, MAX_STEPS, MAX_TOKENS
from library.config import DataConfig
from library.errors import TrainerError

LIMITS = {
    "num_repeats": (1, 100_000), "keep_tokens": (0, MAX_TOKENS), "caption_dropout_every_n_epochs": (0, MAX_EPOCHS),
    "caption_dropout_rate": (0, 1), "caption_tag_dropout_rate": (0, 1), "token_warmup_min": (0, MAX_TOKENS),
    "token_warmup_step": (0, MAX_STEPS), "validation_split": (0, 1),
}  # fmt: skip
TEXTS = ("class_tokens", "caption_prefix", "caption_suffix", "caption_separator", "keep_tokens_separator", "secondary_separator")
INTERPOLATIONS = ("lanczos", "nearest", "bilinear", "linear", "bicubic", "cubic", "area", "box")
TYPE_NAMES = {
    int: "a whole number", float: "a number", str: "a text", bool: "true or false", dict: "a table", tuple: "two numbers, as [1.0, 3.0]",
}  # fmt: skip
WINDOWS_PATHS = " Use single quotes or forward slashes for Windows paths: 'C:\\Users\\me' or \"C:/Users/me\"."
OTHER_TRAINERS = {
    "image_directory": "image_dir", "folder_path": "image_dir", "images_dir": "image_dir", "img_dir": "image_dir", "path": "image_dir",
    "image_jsonl_file": "metadata_file", "caption_ext": "caption_extension", "caption_extention": "caption_extension",
    "repeats": "num_repeats", "dataset_repeats": "num_repeats", "train_batch_size": "batch_size", "dataset": "datasets",
    "subset": "subsets", "caption_dropout": "caption_dropout_rate", "trigger_word": "class_tokens", "mask_path": "conditioning_data_dir",
}  # fmt: skip
FORBIDS_TEXT_CACHE = (
    "shuffle_caption", "caption_dropout_rate", "caption_tag_dropout_rate", "caption_dropout_every_n_epochs", "enable_wildcard",
    "token_warmup_step",
)  # fmt: skip
FORBIDS_LATENT_CACHE = ("random_crop", "color_aug", "face_crop_aug_range")
WITHOUT_EFFECT = {
    "network_multiplier": (1.0, "kohya's FLUX trainer ignores it too"),
    "cache_info": (False, "folders are read again at each start"),
}  # accepted keys: the default, which gives no warning, and the reason why other values have no effect


@dataclass(frozen=True, kw_only=True)
class Subset:
    """One folder or metadata file of images, with its caption and augmentation options; names are kohya's."""

    image_dir: str = ""
    metadata_file: str = ""
    conditioning_data_dir: str = ""
    num_repeats: int = 1
    is_reg: bool = False
    class_tokens: str = ""
    caption_extension: str = ".caption"
    keep_tokens: int = 0
    keep_tokens_separator: str = ""
    secondary_separator: str = ""
    shuffle_caption: bool = False
    caption_separator: str = ","
    caption_prefix: str = ""
    caption_suffix: str = ""
    enable_wildcard: bool = False
    caption_dropout_rate: float = 0.0
    caption_dropout_every_n_epochs: int = 0
    caption_tag_dropout_rate: float = 0.0
    token_warmup_min: int = 1
    token_warmup_step: float = 0.0
    flip_aug: bool = False
    color_aug: bool = False
    random_crop: bool = False
    face_crop_aug_range: tuple[float, float] | None = None
    resize_interpolation: str = ""
    alpha_mask: bool = False
    validation_split: float = 0.0
    validation_seed: int | None = None
    custom_attributes: dict[str, Any] = field(default_factory=dict, hash=False)

    @property
    def name(self) -> str:
        """The name in errors and metadata: its metadata file if it has one, else its folder."""
        return self.metadata_file or self.image_dir

    def without_augmentation(self) -> "Subset":
        """Return the same images and captions without what changes them from step to step, for validation."""
        return replace(
            self, shuffle_caption=False, caption_dropout_rate=0.0, caption_dropout_every_n_epochs=0, caption_tag_dropout_rate=0.0,
            token_warmup_step=0.0, flip_aug=False, color_aug=False, random_crop=False, face_crop_aug_range=None, num_repeats=1,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Subsets that share a resolution, a batch size and buckets; resolution is (width, height)."""

    resolution: tuple[int, int]
    batch_size: int = 1
    enable_bucket: bool = False
    min_bucket_reso: int = 256
    max_bucket_reso: int = 1024
    bucket_reso_steps: int = 64
    bucket_no_upscale: bool = False
    subsets: tuple[Subset, ...]


SUBSET_FIELDS = {each.name: each for each in fields(Subset)}
DATASET_FIELDS = {each.name: each for each in fields(Dataset) if each.name != "subsets"}
SUBSET_ONLY = {"image_dir", "metadata_file", "conditioning_data_dir", "is_reg"}  # not allowed in [general] or [[datasets]]
SHARED_KEYS = {*DATASET_FIELDS, *SUBSET_FIELDS, *WITHOUT_EFFECT} - SUBSET_ONLY
NOT_FROM_FLAGS = SUBSET_ONLY | {"num_repeats", "class_tokens", "batch_size", "custom_attributes"}


def only_known(table: Any, known: set[str], source: str) -> None:
    """Raise TrainerError for anything but a table of known keys; names the table where a key belongs, or the nearest key."""
    if not isinstance(table, Mapping):
        raise TrainerError(f"{source} is not a table.")
    for key in table:
        if key not in known:
            raise TrainerError(f"{source}: {key} is not a known key{_meant(key, known)}.")


def _meant(key: str, known: set[str]) -> str:
    """Return a hint for an unknown key, as the end of a sentence: kohya's name for it, the table where it belongs, or the nearest known key."""
    name = OTHER_TRAINERS.get(key.lower(), key)
    if name in known:
        return f"; use {name}"
    tables = {"[[datasets.subsets]]": SUBSET_FIELDS, "[[datasets]]": DATASET_FIELDS, "the file itself": ("general", "datasets")}
    table = next((table for table, names in tables.items() if name in names), None)
    if table is not None:
        return f"; {name} belongs in {table}" if name == key else f"; use {name} in {table}"
    everywhere = {*known, *SUBSET_FIELDS, *DATASET_FIELDS}
    near = get_close_matches(key, sorted(known), n=1) or get_close_matches(key, sorted(everywhere), n=1)
    return f"; perhaps {near[0]} is meant" if near else ""


def windows_path_hint(text: str) -> str:
    """Return how to write a Windows path if a TOML text has a backslash in double quotes, else ""."""
    return WINDOWS_PATHS if re.search(r'=\s*\[?\s*"[^"\n]*\\(?!["\\])', text) else ""


def check_type(expected: Field[Any], value: Any, source: str) -> None:
    """Raise TrainerError if a value does not have its field's type; an int is accepted as a float, a bool is not a number."""
    kind: Any = expected.type
    if isinstance(kind, UnionType):
        if value is None:
            return
        kind = next(each for each in get_args(kind) if each is not type(None))
    kind = get_origin(kind) or kind
    accepted = {float: (int, float), tuple: (list, tuple)}.get(kind, kind)
    if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
        raise TrainerError(f"{source}: {expected.name} must be {TYPE_NAMES[kind]}, not {value!r}.")


def size_of(value: Any, source: str) -> tuple[int, int]:
    """Return a resolution, given as 512 or [768, 512], as (width, height)."""
    sides = [value] if isinstance(value, int) else value
    if sides is None:
        raise TrainerError(f"{source} has no resolution.")
    is_pair = isinstance(sides, list) and len(sides) in (1, 2) and all(_is_number(side, int) for side in sides)
    if not is_pair or any(not GRID <= side <= 8192 for side in sides):
        raise TrainerError(f"{source}: resolution {value} is not a size; write 512 or [768, 512].")
    return sides[0], sides[-1]


def pair_of_numbers(value: Any, name: str, source: str) -> tuple[float, float]:
    """Return a range of two numbers above 0, the lower one first."""
    if len(value) != 2 or not all(_is_number(each, (int, float)) for each in value) or not 0 < value[0] <= value[1] < math.inf:
        raise TrainerError(f"{source}: {name} {list(value)} is not a range; write the lower of two numbers above 0 first, as [1.0, 3.0].")
    return float(value[0]), float(value[1])


def _is_number(value: Any, kinds: type | tuple[type, ...]) -> bool:
    return isinstance(value, kinds) and not isinstance(value, bool)


def check_subset(subset: Subset, source: str) -> None:
    """Raise TrainerError for a value outside its range, and for keys of one subset that exclude each other."""
    for key, (low, high) in LIMITS.items():
        if not low <= (value := getattr(subset, key)) <= high:
            raise TrainerError(f"{source}: {key} {value} must be between {low} and {high}.")
    for key in TEXTS:
        if complaint := complaint_about(getattr(subset, key)):
            raise TrainerError(f"{source}: {key} {complaint}.")
    if not re.fullmatch(r"\.[^/]*[^./]", subset.caption_extension):
        raise TrainerError(f"{source}: caption_extension {subset.caption_extension!r} cannot end a file name; write .txt.")
    if not subset.caption_separator:
        raise TrainerError(f"{source}: caption_separator must not be empty.")
    if subset.resize_interpolation not in ("", *INTERPOLATIONS):
        raise TrainerError(f"{source}: resize_interpolation {subset.resize_interpolation} must be one of {', '.join(INTERPOLATIONS)}.")
    if subset.alpha_mask and subset.conditioning_data_dir:
        raise TrainerError(f"{source}: alpha_mask and conditioning_data_dir both give masks; leave one out.")
    if subset.metadata_file and subset.is_reg:
        raise TrainerError(f"{source}: is_reg and metadata_file exclude each other; give regularization images by their image_dir.")


def check_subset_against_flags(subset: Subset, config: DataConfig, source: str) -> None:
    """Raise TrainerError for augmentation that a cache would freeze, and for masks without --masked_loss."""
    if config.cache_text_encoder_outputs:
        for key in FORBIDS_TEXT_CACHE:
            if getattr(subset, key):
                raise TrainerError(f"{source}: {key} changes captions while training, so --cache_text_encoder_outputs must be left out.")
    if config.cache_latents:
        for key in FORBIDS_LATENT_CACHE:
            if getattr(subset, key):
                raise TrainerError(f"{source}: {key} changes images while training, so --cache_latents must be left out.")
    if subset.conditioning_data_dir and not config.masked_loss:
        raise TrainerError(f"{source}: conditioning_data_dir holds masks, which need --masked_loss.")


def check_dataset(dataset: Dataset, source: str) -> None:
    """Raise TrainerError for sizes and buckets that contradict each other."""
    if not 1 <= dataset.batch_size <= MAX_BATCH:
        raise TrainerError(f"{source}: batch_size {dataset.batch_size} must be between 1 and {MAX_BATCH}.")
    if not dataset.enable_bucket:
        for side in dataset.resolution:
            if side % GRID:
                raise TrainerError(f"{source}: resolution {side} is not a multiple of {GRID}; use {side // GRID * GRID or GRID}.")
        return
    if any(subset.face_crop_aug_range for subset in dataset.subsets):
        raise TrainerError(f"{source}: face_crop_aug_range cuts every image to the resolution, so enable_bucket must be left out.")
    if dataset.max_bucket_reso > MAX_SIDE:
        raise TrainerError(f"{source}: max_bucket_reso {dataset.max_bucket_reso} must be at most {MAX_SIDE}.")
    step, smallest = dataset.bucket_reso_steps, min(dataset.resolution)
    if not GRID <= step <= smallest or step % GRID:
        raise TrainerError(f"{source}: bucket_reso_steps {step} must be a multiple of {GRID}, up to the resolution {smallest}.")
    if not dataset.min_bucket_reso <= smallest or not max(dataset.resolution) <= dataset.max_bucket_reso:
        raise TrainerError(
            f"{source}: min_bucket_reso {dataset.min_bucket_reso} and max_bucket_reso {dataset.max_bucket_reso} must enclose the resolution "
            f"{'x'.join(map(str, dataset.resolution))}."
        )


def keys_without_effect(table: Mapping[str, Any], source: str) -> Iterator[str]:
    """Yield a warning for each key that is accepted but has no effect."""
    for key, (harmless, reason) in WITHOUT_EFFECT.items():
        if table.get(key, harmless) != harmless:
            yield f"{source}: {key} has no effect: {reason}"


def captions_left_out(subset: Subset, source: str) -> Iterator[str]:
    """Yield a warning for each option that leaves captions out in each step."""
    for key, value, why in learns_little(vars(subset)):
        yield f"{source}: {key} {value} {why}"

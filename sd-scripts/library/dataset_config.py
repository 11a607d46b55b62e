"""What the data set is: kohya's dataset.toml, or the flags and `N_name` folders of --train_data_dir, as frozen dataclasses.

Unknown keys, wrong types and missing folders are refused by name. Nothing is read but the TOML file itself.
"""

import math
import re
import tomllib
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from library.errors import TrainerError

GRID = 16  # pixels of one transformer token a side
LIMITS = {
    "num_repeats": (1, math.inf), "keep_tokens": (0, math.inf), "caption_dropout_every_n_epochs": (0, math.inf),
    "caption_dropout_rate": (0, 1), "caption_tag_dropout_rate": (0, 1),
}  # fmt: skip
INTERPOLATIONS = ("lanczos", "nearest", "bilinear", "linear", "bicubic", "cubic", "area")
FORBIDS_TEXT_CACHE = (
    "shuffle_caption",
    "caption_dropout_rate",
    "caption_tag_dropout_rate",
    "caption_dropout_every_n_epochs",
    "enable_wildcard",
)
REFUSED_KEYS = {
    "color_aug": False, "face_crop_aug_range": None, "alpha_mask": False, "token_warmup_min": 1, "token_warmup_step": 0,
    "validation_split": 0.0, "validation_seed": None, "custom_attributes": {}, "network_multiplier": 1.0, "metadata_file": None,
    "conditioning_data_dir": None, "cache_info": False,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Subset:
    """One folder of pictures and how its captions are made; names are kohya's."""

    image_dir: str
    num_repeats: int = 1
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
    flip_aug: bool = False
    random_crop: bool = False
    is_reg: bool = False


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
    resize_interpolation: str = "lanczos"
    subsets: tuple[Subset, ...]


SUBSET_KEYS = {field.name: field for field in fields(Subset)}
DATASET_KEYS = {field.name: field for field in fields(Dataset) if field.name != "subsets"}


def read_datasets(args: Namespace) -> list[Dataset]:
    """Return the data sets of a training; raises TrainerError naming file, key and value of what cannot be."""
    if not args.dataset_config:
        return [_dataset(_from_flags(args), {"subsets": _named_folders(args)}, args, "--train_data_dir")]
    path = Path(args.dataset_config)
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TrainerError(f"--dataset_config {path} is missing.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TrainerError(f"{path} is not valid TOML: {error}.") from None
    except OSError as error:
        raise TrainerError(f"--dataset_config {path} cannot be read: {error.strerror}.") from None
    _only_known(table, {"general", "datasets"}, str(path))
    general, tables = table.get("general", {}), table.get("datasets")
    if not isinstance(general, dict):
        raise TrainerError(f"{path}: general is no table; write [general].")
    if not isinstance(tables, list) or not tables:
        raise TrainerError(f"{path} has no [[datasets]].")
    return [_dataset(_from_flags(args) | general, entry, args, str(path)) for entry in tables]


def _from_flags(args: Namespace) -> dict[str, Any]:
    """What the command line says, which stands below [general]; caption_extension has kohya's own default in a TOML."""
    names = {*DATASET_KEYS, *SUBSET_KEYS} - {"image_dir", "num_repeats", "class_tokens", "is_reg", "batch_size"}
    given = {name: getattr(args, name) for name in names if getattr(args, name, None) not in (None, "")}
    if "resolution" in given:
        given["resolution"] = _numbers(str(given["resolution"]))
    return given | {"batch_size": args.train_batch_size}


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise TrainerError(f"--resolution {text} is no size; write 512 or 768,512.") from None


def _named_folders(args: Namespace) -> list[dict[str, Any]]:
    """kohya's folders: `10_sks cat` holds pictures that are repeated ten times, their caption is "sks cat" where no file gives another."""
    tables = []
    for root, is_reg in ((args.train_data_dir, False), (args.reg_data_dir, True)):
        if not root:
            continue
        if not Path(root).is_dir():
            raise TrainerError(f"the folder {root} is missing.")
        for folder in sorted(Path(root).iterdir()):
            if folder.is_dir() and (match := re.fullmatch(r"(\d+)_(.*)", folder.name)):
                tables.append({"image_dir": str(folder), "num_repeats": int(match[1]), "class_tokens": match[2], "is_reg": is_reg})
    if not tables:
        raise TrainerError(f"--train_data_dir {args.train_data_dir} holds no folder named like “10_sks cat” (repeats, then a caption).")
    return tables


def _dataset(above: Mapping[str, Any], table: Mapping[str, Any], args: Namespace, place: str) -> Dataset:
    _only_known(table, {*DATASET_KEYS, *SUBSET_KEYS, *REFUSED_KEYS, "subsets"}, f"{place}, [[datasets]]")
    _only_known(above, {*DATASET_KEYS, *SUBSET_KEYS, *REFUSED_KEYS}, f"{place}, [general]")
    merged = {**above, **{key: value for key, value in table.items() if key != "subsets"}}
    entries = table.get("subsets", [])
    if not isinstance(entries, list) or not entries:
        raise TrainerError(f"{place} names no folder of pictures; add [[datasets.subsets]] with an image_dir.")
    subsets = tuple(_subset(merged, entry, args, place) for entry in entries)
    values = {key: merged[key] for key in DATASET_KEYS if key in merged and key != "resolution"}
    for key, value in values.items():
        _check_type(DATASET_KEYS[key], value, place)
    dataset = Dataset(resolution=_resolution(merged.get("resolution"), place), subsets=subsets, **values)
    _check_dataset(dataset, place)
    return dataset


def _subset(above: Mapping[str, Any], table: Mapping[str, Any], args: Namespace, place: str) -> Subset:
    place = f"{place}, [[datasets.subsets]]"
    _only_known(table, {*SUBSET_KEYS, *REFUSED_KEYS}, place)
    merged = {**above, **table}
    for key, harmless in REFUSED_KEYS.items():
        if merged.get(key, harmless) != harmless:
            raise TrainerError(f"{place}: {key} is not supported yet; leave it out.")
    values = {key: merged[key] for key in SUBSET_KEYS if key in merged}
    for key, value in values.items():
        _check_type(SUBSET_KEYS[key], value, place)
    if not values.get("image_dir"):
        raise TrainerError(f"{place} has no image_dir.")
    if not Path(values["image_dir"]).is_dir():
        raise TrainerError(f"{place}: the folder {values['image_dir']} is missing.")
    subset = Subset(**values)
    _check_subset(subset, place)
    _check_against_caches(subset, args, place)
    return subset


def _check_subset(subset: Subset, place: str) -> None:
    for key, (low, high) in LIMITS.items():
        if not low <= (value := getattr(subset, key)) <= high:
            raise TrainerError(f"{place}: {key} {value} must be {f'at least {low}' if high == math.inf else f'between {low} and {high}'}.")
    if not re.fullmatch(r"\..*[^./]", subset.caption_extension) or "/" in subset.caption_extension:
        raise TrainerError(f"{place}: caption_extension {subset.caption_extension!r} must begin with a dot, as .txt does.")
    if not subset.caption_separator:
        raise TrainerError(f"{place}: caption_separator must not be empty.")


def _check_against_caches(subset: Subset, args: Namespace, place: str) -> None:
    if args.cache_text_encoder_outputs:
        for key in FORBIDS_TEXT_CACHE:
            if getattr(subset, key):
                raise TrainerError(f"{place}: {key} changes captions while training, so --cache_text_encoder_outputs must be left out.")
    if args.cache_latents and subset.random_crop:
        raise TrainerError(f"{place}: random_crop changes pictures while training, so --cache_latents must be left out.")


def _check_dataset(dataset: Dataset, place: str) -> None:
    if dataset.batch_size < 1:
        raise TrainerError(f"{place}: batch_size {dataset.batch_size} must be at least 1.")
    if dataset.resize_interpolation not in INTERPOLATIONS:
        raise TrainerError(f"{place}: resize_interpolation {dataset.resize_interpolation} must be one of {', '.join(INTERPOLATIONS)}.")
    if not dataset.enable_bucket:
        for side in dataset.resolution:
            if side % GRID:
                raise TrainerError(f"{place}: resolution {side} is no multiple of {GRID}; use {side // GRID * GRID or GRID}.")
        return
    step, smallest = dataset.bucket_reso_steps, min(dataset.resolution)
    if not GRID <= step <= smallest or step % GRID:
        raise TrainerError(f"{place}: bucket_reso_steps {step} must be a multiple of {GRID}, up to the resolution {smallest}.")
    if not dataset.min_bucket_reso <= smallest or not max(dataset.resolution) <= dataset.max_bucket_reso:
        raise TrainerError(
            f"{place}: min_bucket_reso {dataset.min_bucket_reso} and max_bucket_reso {dataset.max_bucket_reso} must enclose the resolution "
            f"{'x'.join(map(str, dataset.resolution))}."
        )


def _resolution(value: Any, place: str) -> tuple[int, int]:
    sides = [value] if isinstance(value, int) else value
    if sides is None:
        raise TrainerError(f"{place} has no resolution.")
    is_pair = (
        isinstance(sides, list) and len(sides) in (1, 2) and all(isinstance(side, int) and not isinstance(side, bool) for side in sides)
    )
    if not is_pair or any(not GRID <= side <= 8192 for side in sides):
        raise TrainerError(f"{place}: resolution {value} is no size; write 512 or [768, 512].")
    return sides[0], sides[-1]


def _only_known(table: Any, known: set[str], place: str) -> None:
    if not isinstance(table, Mapping):
        raise TrainerError(f"{place} is no table.")
    for key in table:
        if key not in known:
            raise TrainerError(f"{place}: {key} is not a known key.")


def _check_type(field: Any, value: Any, place: str) -> None:
    """Hold a value against its field's type; a whole number is a float too, True is no number."""
    expected = (int, float) if field.type is float else field.type
    if not isinstance(value, expected) or (isinstance(value, bool) and field.type is not bool):
        name = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}[field.type]
        raise TrainerError(f"{place}: {field.name} must be {name}, not {value!r}.")

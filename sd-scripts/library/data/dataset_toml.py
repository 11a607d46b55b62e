"""What the data set is: kohya's dataset.toml (or .json), or the flags and folders of --train_data_dir, as frozen dataclasses.

Unknown keys, wrong types and missing folders are refused by name. Nothing is read but the file itself; which values contradict each other
says dataset_checks.
"""

import json
import re
import tomllib
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from library.data.schema import (
    check_dataset,
    check_subset,
    check_subset_against_flags,
    check_type,
    only_known,
    pair_of_numbers,
    size_of,
    warn_of_keys_without_effect,
)
from library.errors import TrainerError, warn


@dataclass(frozen=True, kw_only=True)
class Subset:
    """One folder or metadata file of images, how its captions are made and its images changed; names are kohya's."""

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
        """What errors and metadata call it: its metadata file where there is one, else its folder."""
        return self.metadata_file or self.image_dir

    def at_rest(self) -> "Subset":
        """The same images and captions without anything that changes them from step to step, as validation sees them."""
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
WITHOUT_EFFECT = {"network_multiplier", "cache_info"}
OF_ONE_SUBSET = {"image_dir", "metadata_file", "conditioning_data_dir", "is_reg"}  # cannot stand above
ABOVE_KEYS = {*DATASET_FIELDS, *SUBSET_FIELDS, *WITHOUT_EFFECT} - OF_ONE_SUBSET
NOT_FROM_FLAGS = OF_ONE_SUBSET | {"num_repeats", "class_tokens", "batch_size", "custom_attributes"}


def read_datasets(args: Namespace) -> list[Dataset]:
    """Return the data sets of a training; raises TrainerError naming file, key and value of what cannot be."""
    if not args.dataset_config:
        place = "--in_json" if args.in_json else "--train_data_dir"
        return [_dataset(_from_flags(args), {"subsets": _subsets_from_flags(args)}, args, place)]
    path = Path(args.dataset_config)
    table = _read_table(path)
    only_known(table, {"general", "datasets"}, str(path))
    general, tables = table.get("general", {}), table.get("datasets")
    if not isinstance(general, dict):
        raise TrainerError(f"{path}: general is no table; write [general].")
    if not isinstance(tables, list) or not tables:
        raise TrainerError(f"{path} has no [[datasets]].")
    only_known(general, ABOVE_KEYS, f"{path}, [general]")
    return [_dataset(_from_flags(args) | general, entry, args, str(path)) for entry in tables]


def _read_table(path: Path) -> Any:
    """Read a data set's TOML, or JSON by its name."""
    kind, read = ("JSON", json.loads) if path.suffix.lower() == ".json" else ("TOML", tomllib.loads)
    try:
        return read(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TrainerError(f"--dataset_config {path} is missing.") from None
    except (ValueError, RecursionError) as error:  # both parsers' errors, and text that is not UTF-8
        raise TrainerError(f"{path} is not valid {kind}: {error}.") from None
    except OSError as error:
        raise TrainerError(f"--dataset_config {path} cannot be read: {error.strerror}.") from None


def _from_flags(args: Namespace) -> dict[str, Any]:
    """What the command line says, which stands below [general]."""
    names = {*DATASET_FIELDS, *SUBSET_FIELDS} - NOT_FROM_FLAGS
    given = {name: getattr(args, name) for name in names if getattr(args, name, None) not in (None, "")}
    if "resolution" in given:
        given["resolution"] = _numbers(str(given["resolution"]), int, "--resolution", "is no size; write 512 or 768,512")
    if "face_crop_aug_range" in given:
        text = str(given["face_crop_aug_range"])
        given["face_crop_aug_range"] = _numbers(text, float, "--face_crop_aug_range", "is no range; write 2.0,4.0")
    return given | {"batch_size": args.train_batch_size, "num_repeats": args.dataset_repeats}


def _numbers(text: str, kind: type, flag: str, complaint: str) -> list[Any]:
    try:
        return [kind(part) for part in text.split(",")]
    except ValueError:
        raise TrainerError(f"{flag} {text} {complaint}.") from None


def _subsets_from_flags(args: Namespace) -> list[dict[str, Any]]:
    if args.in_json:
        return [{"image_dir": args.train_data_dir or "", "metadata_file": args.in_json}]
    return _named_folders(args)


def _named_folders(args: Namespace) -> list[dict[str, Any]]:
    """kohya's folders: `10_sks cat` holds images that are repeated ten times, their caption is "sks cat" where no file gives another."""
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
    only_known(table, {*ABOVE_KEYS, "subsets"}, f"{place}, [[datasets]]")
    merged = {**above, **{key: value for key, value in table.items() if key != "subsets"}}
    entries = table.get("subsets", [])
    if not isinstance(entries, list) or not entries:
        raise TrainerError(f"{place} names no folder of images; add [[datasets.subsets]] with an image_dir.")
    subsets = _without_doubles(tuple(_subset(merged, entry, args, place) for entry in entries))
    values = {key: merged[key] for key in DATASET_FIELDS if key in merged and key != "resolution"}
    for key, value in values.items():
        check_type(DATASET_FIELDS[key], value, place)
    dataset = Dataset(resolution=size_of(merged.get("resolution"), place), subsets=subsets, **values)
    check_dataset(dataset, place)
    warn_of_keys_without_effect(merged, place)
    return dataset


def _without_doubles(subsets: tuple[Subset, ...]) -> tuple[Subset, ...]:
    """Leave out what a data set names twice, as kohya does; another data set may use the same folder at another resolution."""
    first: dict[str, Subset] = {}
    for subset in subsets:
        if first.setdefault(subset.name, subset) is not subset:
            warn(f"{subset.name} is named twice in one data set; the second is left out")
    return tuple(first.values())


def _subset(above: Mapping[str, Any], table: Mapping[str, Any], args: Namespace, place: str) -> Subset:
    place = f"{place}, [[datasets.subsets]]"
    only_known(table, {*SUBSET_FIELDS, "cache_info"}, place)
    warn_of_keys_without_effect(table, place)
    merged = {**above, **table}
    values = {key: merged[key] for key in SUBSET_FIELDS if key in merged}
    for key, value in values.items():
        check_type(SUBSET_FIELDS[key], value, place)
    if values.get("face_crop_aug_range") is not None:
        values["face_crop_aug_range"] = pair_of_numbers(values["face_crop_aug_range"], "face_crop_aug_range", place)
    if args.conditioning_data_dir and not values.get("is_reg") and "conditioning_data_dir" not in values:
        values["conditioning_data_dir"] = _masks_beside(args.conditioning_data_dir, values.get("image_dir", ""))
    if (extension := values.get("caption_extension", ".")) and not extension.startswith("."):
        values["caption_extension"] = f".{extension}"  # kohya takes “txt” too
    _check_places(values, place)
    subset = Subset(**values)
    check_subset(subset, place)
    check_subset_against_flags(subset, args, place)
    return subset


def _masks_beside(masks: str, image_dir: str) -> str:
    """Return where the masks of a folder lie: in the folder of the same name inside of --conditioning_data_dir, else in itself."""
    inside = Path(masks, Path(image_dir).name)
    return str(inside) if image_dir and inside.is_dir() else masks


def _check_places(values: Mapping[str, Any], place: str) -> None:
    if not (values.get("image_dir") or values.get("metadata_file")):
        raise TrainerError(f"{place} has no image_dir.")
    for key in ("image_dir", "conditioning_data_dir"):
        if values.get(key) and not Path(values[key]).is_dir():
            raise TrainerError(f"{place}: the folder {values[key]} is missing.")
    if values.get("metadata_file") and not Path(values["metadata_file"]).is_file():
        raise TrainerError(f"{place}: the metadata_file {values['metadata_file']} is missing.")

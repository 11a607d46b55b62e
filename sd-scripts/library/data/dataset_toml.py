"""Read the data sets from kohya's dataset.toml (or .json), or from the flags and folders of --train_data_dir.

Unknown keys, wrong types and missing folders are errors that name them. Only the file itself is read, no image.
"""

import json
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fluxgym.contract.dataset_rules import is_image_name
from fluxgym.contract.kohya_folders import kohya_folder
from fluxgym.contract.masks import masks_folder
from library.config import DataConfig
from library.data.schema import (
    DATASET_FIELDS,
    SHARED_KEYS,
    SUBSET_FIELDS,
    WINDOWS_PATHS,
    Dataset,
    Subset,
    captions_left_out,
    check_dataset,
    check_subset,
    check_subset_against_flags,
    check_type,
    keys_without_effect,
    only_known,
    pair_of_numbers,
    size_of,
    windows_path_hint,
)
from library.errors import OnWarning, TrainerError


def read_datasets(config: DataConfig, on_warning: OnWarning) -> list[Dataset]:
    """Return the data sets of a training; `on_warning` is called with each warning about a key or a folder.

    Raises:
        TrainerError: Naming file, key and value of a mistake.
    """
    if config.dataset_config is None:
        source = "--in_json" if config.in_json else "--train_data_dir"
        reader = _DatasetReader(config, source, on_warning)
        return [reader.read(config.dataset_defaults, {"subsets": _subsets_from_flags(config, on_warning)})]
    path = config.dataset_config
    table = _read_table(path)
    _refuse_metadata(table, path)
    only_known(table, {"general", "datasets"}, str(path))
    general, tables = table.get("general", {}), table.get("datasets")
    if not isinstance(general, dict):
        raise TrainerError(f"{path}: general is not a table; write [general].")
    if not isinstance(tables, list) or not tables:
        raise TrainerError(f"{path} has no [[datasets]].")
    only_known(general, SHARED_KEYS, f"{path}, [general]")
    reader = _DatasetReader(config, str(path), on_warning)
    return [reader.read({**config.dataset_defaults, **general}, entry) for entry in tables]


def _read_table(path: Path) -> Any:
    """Read a .json file as JSON, any other as TOML."""
    kind, read = ("JSON", json.loads) if path.suffix.lower() == ".json" else ("TOML", tomllib.loads)
    text = ""
    try:
        text = path.read_text(encoding="utf-8-sig")
        return read(text)
    except FileNotFoundError:
        raise TrainerError(f"--dataset_config {path} is missing.") from None
    except (ValueError, RecursionError) as error:  # both parsers' errors, and text that is not UTF-8
        raise TrainerError(f"{path} is not valid {kind}: {error}.{windows_path_hint(text)}") from None
    except OSError as error:
        raise TrainerError(f"--dataset_config {path} cannot be read: {error.strerror}.") from None


def _refuse_metadata(table: Any, path: Path) -> None:
    """Raise TrainerError for kohya's metadata file, a table of images, in place of the data sets."""
    if isinstance(table, dict) and table and not {"general", "datasets"} & table.keys():
        entry = next(iter(table.values()))
        if isinstance(entry, dict) and {"caption", "tags", "train_resolution"} & entry.keys():
            raise TrainerError(f"{path} is a metadata file with captions of images; give it to --in_json, not to --dataset_config.")


def _subsets_from_flags(config: DataConfig, on_warning: OnWarning) -> list[dict[str, Any]]:
    if config.in_json:
        return [{"image_dir": config.train_data_dir, "metadata_file": config.in_json}]
    return _named_folders(config, on_warning)


def _named_folders(config: DataConfig, on_warning: OnWarning) -> list[dict[str, Any]]:
    """Return the subsets of kohya's folders: images in `10_sks cat` are repeated ten times, with the caption "sks cat" if no file has another.

    A folder with 0 repeats is left out, as kohya does.
    """
    tables = []
    for root, is_reg in ((config.train_data_dir, False), (config.reg_data_dir, True)):
        if not root:
            continue
        if not Path(root).is_dir():
            raise TrainerError(f"The folder {root} is missing.")
        for folder in sorted(Path(root).iterdir()):
            if folder.is_dir() and (named := kohya_folder(folder.name)):
                if not named.num_repeats:
                    on_warning(f"{folder} is not used: its name gives it 0 repeats")
                    continue
                about = {"num_repeats": named.num_repeats, "class_tokens": named.class_tokens, "is_reg": is_reg}
                tables.append({"image_dir": str(folder), **about})
    if not tables:
        has_images = any(is_image_name(path.name) for path in Path(config.train_data_dir).iterdir())
        hint = " It holds images itself: give the folder above it, or move them into a folder of such a name." if has_images else ""
        raise TrainerError(
            f"--train_data_dir {config.train_data_dir} contains no folder named like “10_sks cat” (repeats, then a caption).{hint}"
        )
    return tables


class _DatasetReader:
    """Reads the tables of one file, or of the flags; error messages name `source`."""

    def __init__(self, config: DataConfig, source: str, on_warning: OnWarning) -> None:
        self.config = config
        self.source = source
        self.on_warning = on_warning

    def read(self, defaults: Mapping[str, Any], table: Mapping[str, Any]) -> Dataset:
        """Return the data set of a table over defaults for its keys.

        Raises:
            TrainerError: Naming the key and the value of a mistake.
        """
        source = self.source
        only_known(table, {*SHARED_KEYS, "subsets"}, f"{source}, [[datasets]]")
        merged = {**defaults, **{key: value for key, value in table.items() if key != "subsets"}}
        entries = table.get("subsets", [])
        if not isinstance(entries, list) or not entries:
            raise TrainerError(f"{source} names no folder of images; add [[datasets.subsets]] with an image_dir.")
        subsets = self._without_duplicates([self._read_subset(merged, entry) for entry in entries])
        values = {key: merged[key] for key in DATASET_FIELDS if key in merged and key != "resolution"}
        for key, value in values.items():
            check_type(DATASET_FIELDS[key], value, source)
        dataset = Dataset(resolution=size_of(merged.get("resolution"), source), subsets=subsets, **values)
        check_dataset(dataset, source)
        self._warn(keys_without_effect(merged, source))
        return dataset

    def _warn(self, warnings: Iterable[str]) -> None:
        for warning in warnings:
            self.on_warning(warning)

    def _without_duplicates(self, subsets: Iterable[Subset]) -> tuple[Subset, ...]:
        """Remove subsets that a data set names twice, as kohya does; another data set may use the same folder at another resolution."""
        first: dict[str, Subset] = {}
        for subset in subsets:
            if first.setdefault(subset.name, subset) is not subset:
                self.on_warning(f"{subset.name} is named twice in one data set; the second is ignored")
        return tuple(first.values())

    def _read_subset(self, defaults: Mapping[str, Any], table: Mapping[str, Any]) -> Subset:
        source = f"{self.source}, [[datasets.subsets]]"
        only_known(table, {*SUBSET_FIELDS, "cache_info"}, source)
        self._warn(keys_without_effect(table, source))
        merged = {**defaults, **table}
        values = {key: merged[key] for key in SUBSET_FIELDS if key in merged}
        for key, value in values.items():
            check_type(SUBSET_FIELDS[key], value, source)
        if values.get("face_crop_aug_range") is not None:
            values["face_crop_aug_range"] = pair_of_numbers(values["face_crop_aug_range"], "face_crop_aug_range", source)
        if self.config.conditioning_data_dir and not values.get("is_reg") and "conditioning_data_dir" not in values:
            values["conditioning_data_dir"] = masks_folder(self.config.conditioning_data_dir, values.get("image_dir", ""))
        if (extension := values.get("caption_extension", ".")) and not extension.startswith("."):
            values["caption_extension"] = f".{extension}"  # kohya accepts “txt”, too
        _check_paths(values, source)
        subset = Subset(**values)
        check_subset(subset, source)
        check_subset_against_flags(subset, self.config, source)
        self._warn(captions_left_out(subset, source))
        return subset


def _check_paths(values: Mapping[str, Any], source: str) -> None:
    if not (values.get("image_dir") or values.get("metadata_file")):
        raise TrainerError(f"{source} has no image_dir.")
    for key in ("image_dir", "conditioning_data_dir"):
        if (folder := values.get(key)) and not Path(folder).is_dir():
            shown = "".join(char if char.isprintable() else repr(char)[1:-1] for char in folder)
            hint = "" if shown == folder else f" Its {key} has a control character, which a backslash makes.{WINDOWS_PATHS}"
            raise TrainerError(f"{source}: the folder {shown} is missing.{hint}")
    if values.get("metadata_file") and not Path(values["metadata_file"]).is_file():
        raise TrainerError(f"{source}: the metadata_file {values['metadata_file']} is missing.")

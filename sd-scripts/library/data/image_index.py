"""The images of a training with their captions, the held-out ones, and kohya's metadata file."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fluxgym.contract.buckets import BucketRule, Fit, Size
from fluxgym.contract.caption_files import control_character, pair_captions, trained_text
from fluxgym.contract.dataset_notes import no_images_message, notes
from fluxgym.contract.dataset_rules import IMAGE_EXTENSIONS, held_out_indices, regularization_repeats
from fluxgym.contract.folder_summary import FolderSummary, content_digest, equal_files, images_in_subfolders, required_trigger
from fluxgym.contract.images.formats import EXTENSIONS_TEXT
from library.data.captions import read_caption
from library.data.images import list_images, upright_size
from library.data.masks import mask_of, masks_by_stem
from library.data.schema import Dataset, Subset
from library.errors import OnWarning, TrainerError


@dataclass(frozen=True)
class TrainingImage:
    """One image of a data set: paths of image and mask, size, bucket, caption, and repeats per epoch."""

    path: Path
    size: Size
    fit: Fit
    caption: str
    subset: Subset
    dataset: Dataset
    num_repeats: int
    mask_path: Path | None = None

    @property
    def folder(self) -> Path:
        """The folder that contains its cache."""
        return self.path.parent


Entry = tuple[Path, str]  # an image and its caption


def index_images(datasets: Sequence[Dataset], seed: int, on_warning: OnWarning) -> tuple[list[TrainingImage], list[TrainingImage]]:
    """Return the images to train on and those held out; `on_warning` is called for what is ignored or misread.

    Raises:
        TrainerError: If something is missing or cannot be read; the message names it.
    """
    train: list[TrainingImage] = []
    held_out: list[TrainingImage] = []
    for dataset in datasets:
        for mine, found in zip((train, held_out), _of_dataset(dataset, seed, on_warning), strict=True):
            mine.extend(found)
    if not held_out and (asked := next((s for d in datasets for s in d.subsets if s.validation_split and not s.is_reg), None)):
        raise TrainerError(
            f"validation_split {asked.validation_split} of the images in {asked.name} is less than one image; hold out more."
        )
    return train, held_out


def _of_dataset(dataset: Dataset, seed: int, on_warning: OnWarning) -> tuple[list[TrainingImage], list[TrainingImage]]:
    """Find a data set's images; regularization images are repeated or cut to the number of training images times repeats."""
    train: list[tuple[Subset, Entry, int]] = []
    regularization: list[tuple[Subset, Entry]] = []
    held_out: list[tuple[Subset, Entry, int]] = []
    for subset in dataset.subsets:
        entries = _entries(subset, on_warning)
        if subset.is_reg:
            regularization += [(subset, entry) for entry in entries]
            continue
        split_seed = seed if subset.validation_seed is None else subset.validation_seed
        out = held_out_indices(len(entries), subset.validation_split, split_seed)
        train += [(subset, entry, subset.num_repeats) for index, entry in enumerate(entries) if index not in out]
        held_out += [(subset.without_augmentation(), entry, 1) for index, entry in enumerate(entries) if index in out]
    if not train and not held_out:
        folders = ", ".join(subset.name for subset in dataset.subsets if not subset.is_reg)
        if not folders:
            raise TrainerError("Every subset is_reg: regularization images go beside images to train on; add a subset without is_reg.")
        elsewhere = [_no_images(Path(each.image_dir)) for each in dataset.subsets if images_in_subfolders(Path(each.image_dir))]
        nothing = f"There are no images in {folders}; put {EXTENSIONS_TEXT} files there."
        raise TrainerError(elsewhere[0] if elsewhere else nothing)
    train += _balanced(regularization, sum(repeats for _, _, repeats in train))
    mask_folders = [subset.conditioning_data_dir for subset in dataset.subsets if subset.conditioning_data_dir]
    masks = {folder: masks_by_stem(folder, on_warning) for folder in mask_folders}
    both = [_image(*each, dataset, masks) for each in train], [_image(*each, dataset, masks) for each in held_out]
    for warning in _masks_without_image(masks, {image.mask_path for images in both for image in images}):
        on_warning(warning)
    return both


def _masks_without_image(masks: dict[str, dict[str, Path]], used: set[Path | None]) -> Iterator[str]:
    """Yield a warning for each mask folder that has a mask without an image."""
    for folder, by_stem in masks.items():
        if unused := sorted(path.name for path in by_stem.values() if path not in used):
            yield f"{folder}: no image belongs to the mask {unused[0]} ({len(unused)} in all)"


def _entries(subset: Subset, on_warning: OnWarning) -> list[Entry]:
    """Return a subset's images with their captions, in the order of the images' names."""
    if subset.metadata_file:
        return read_metadata_file(subset)
    folder = Path(subset.image_dir)
    paths = list_images(subset.image_dir, on_warning)
    if not paths:
        on_warning(_no_images(folder))
        return []
    pairing = pair_captions((path.name for path in folder.iterdir() if not path.is_dir()), subset.caption_extension)
    files = {path: folder / pairing.of[path.name] if path.name in pairing.of else None for path in paths}
    entries = [(path, read_caption(files[path], subset)) for path in paths]
    if missing := _missing_captions(subset, entries, files):
        on_warning(missing)
    summary = FolderSummary(
        captions={path.name: caption for path, caption in entries},
        pairing=pairing,
        equal=equal_files({path.name: path.stat().st_size for path in paths}, lambda name: content_digest(folder / name)),
        subfolders=images_in_subfolders(folder),
    )
    trigger = required_trigger("" if subset.is_reg else subset.class_tokens, prefix=subset.caption_prefix, suffix=subset.caption_suffix)
    for sentence in notes(summary, extension=subset.caption_extension, trigger=trigger):
        on_warning(f"{folder}: {sentence}")
    return entries


def _no_images(folder: Path) -> str:
    sentence = no_images_message(images_in_subfolders(folder))
    return f"{folder}: {sentence}" if sentence else f"There are no images in {folder}."


def _missing_captions(subset: Subset, entries: list[Entry], files: Mapping[Path, Path | None]) -> str:
    """Return a warning about images that are trained without a caption, "" if all have one."""
    lacking = [path for path, caption in entries if not caption]
    if not lacking:
        return ""
    empty = sum(files[path] is not None for path in lacking)
    reasons = [f"no {subset.caption_extension} file"] * (empty < len(lacking)) + ["an empty caption file"] * (empty > 0)
    return f"{len(lacking)} of {len(entries)} images in {subset.image_dir} have no caption: {' or '.join(reasons)}, and no class_tokens"


def _balanced(images: list[tuple[Subset, Entry]], total: int) -> list[tuple[Subset, Entry, int]]:
    """Return regularization images with repeats that add up to `total`: their own first, then one more each in turn."""
    counts = regularization_repeats([subset.num_repeats for subset, _ in images], total)
    return [(subset, entry, count) for (subset, entry), count in zip(images, counts, strict=True) if count]


def _image(subset: Subset, entry: Entry, num_repeats: int, dataset: Dataset, masks: dict[str, dict[str, Path]]) -> TrainingImage:
    path, caption = entry
    size, folder = upright_size(path), subset.conditioning_data_dir
    mask = mask_of(path, masks[folder], folder) if folder else None
    return TrainingImage(path, size, bucket_rule(dataset).fit(size), caption, subset, dataset, num_repeats, mask)


def bucket_rule(dataset: Dataset) -> BucketRule:
    """Return a dataset's bucket settings."""
    return BucketRule(
        resolution=dataset.resolution, enabled=dataset.enable_bucket, low=dataset.min_bucket_reso, high=dataset.max_bucket_reso,
        step=dataset.bucket_reso_steps, no_upscale=dataset.bucket_no_upscale,
    )  # fmt: skip


def read_metadata_file(subset: Subset) -> list[tuple[Path, str]]:
    """Return the images of a metadata file with their captions, followed by the tags, sorted by path.

    Sizes in the file are ignored.

    Raises:
        TrainerError: Naming the file and the entry if it is not JSON text or names a missing image.
    """
    source = Path(subset.metadata_file)
    try:
        entries = list(_metadata_entries(source))
    except ValueError as error:  # JSON's and UTF-8's errors
        raise TrainerError(f"The metadata_file {source} is not valid JSON: {error}.") from None
    except OSError as error:
        raise TrainerError(f"The metadata_file {source} cannot be read: {error.strerror}.") from None
    images = [(_metadata_image_path(name, subset), _caption(name, entry, subset)) for name, entry in entries]
    return sorted(images, key=lambda pair: pair[0])


def _metadata_entries(source: Path) -> Iterator[tuple[str, Any]]:
    text = source.read_text(encoding="utf-8-sig")
    if source.suffix.lower() == ".jsonl":
        for number, line in enumerate(text.splitlines(), 1):
            entry = json.loads(line) if line.strip() else None
            if entry is None:
                continue
            if not isinstance(entry, dict) or not isinstance(entry.get("image_path"), str):
                raise TrainerError(f"The metadata_file {source}, line {number}, has no image_path.")
            yield entry["image_path"], entry
        return
    table = json.loads(text)
    if not isinstance(table, dict):
        raise TrainerError(f"The metadata_file {source} is not a table of images.")
    yield from table.items()


def _metadata_image_path(name: str, subset: Subset) -> Path:
    """Return the path of an entry's image: absolute, or below image_dir; old files omit the extension."""
    if not (Path(name).is_absolute() or subset.image_dir):
        raise TrainerError(
            f"The metadata_file {subset.metadata_file}: {name} is not an absolute path, so image_dir (--train_data_dir) is needed."
        )
    path = Path(subset.image_dir, name)
    if path.is_file():
        return path
    for ending in IMAGE_EXTENSIONS:
        if (whole := path.with_name(path.name + ending)).is_file():
            return whole
    raise TrainerError(f"The metadata_file {subset.metadata_file} names {path}, which is missing.")


def _caption(name: str, entry: Any, subset: Subset) -> str:
    if not isinstance(entry, dict):
        raise TrainerError(f"The metadata_file {subset.metadata_file}: {name} is not a table of caption and tags.")
    caption, tags = entry.get("caption") or "", entry.get("tags") or ""
    if not isinstance(caption, str) or not isinstance(tags, str) or control_character(caption + tags):
        raise TrainerError(
            f"The metadata_file {subset.metadata_file}: caption and tags of {name} must be texts without control characters."
        )
    tags = tags.replace("\n", subset.caption_separator)
    lines = trained_text(caption, wildcards=subset.enable_wildcard).split("\n")
    return "\n".join(subset.caption_separator.join(part for part in (line, tags) if part) for line in lines)

"""The images in a LoRA's metadata, by kohya's names, and in words for --debug_dataset."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from library.data.image_index import TrainingImage
from library.data.schema import Dataset, Subset

VALIDATION_FLAGS = ("validation_seed", "validation_split", "max_validation_steps", "validate_every_n_epochs", "validate_every_n_steps")


def dataset_metadata(given: Mapping[str, Any], images: list[TrainingImage], held_out: list[TrainingImage]) -> dict[str, Any]:
    """Return kohya's datasets, dataset_dirs, tag_frequency, bucket_info and validation figures; tables are JSON texts.

    `given` are the flags; the validation flags among them are included.
    """
    datasets = list({id(p.dataset): p.dataset for p in [*images, *held_out]}.values())
    subsets = [subset for dataset in datasets for subset in dataset.subsets]
    buckets: Counter[str] = Counter()
    for image in images:
        buckets["x".join(map(str, image.fit.bucket))] += image.num_repeats
    tables = {
        "datasets": [_figures(dataset, images) for dataset in datasets],
        "dataset_dirs": {_name(s): {"n_repeats": s.num_repeats, "img_count": _count(s, images)} for s in subsets if not s.is_reg},
        "reg_dataset_dirs": {_name(s): {"n_repeats": s.num_repeats, "img_count": _count(s, images)} for s in subsets if s.is_reg},
        "tag_frequency": {_name(subset): _tags(subset, images) for subset in subsets},
        "bucket_info": buckets,
    }
    validation = {name: given[name] for name in VALIDATION_FLAGS} | {"num_validation_images": len(held_out)}
    return {name: json.dumps(table) for name, table in tables.items()} | validation


def _figures(dataset: Dataset, images: list[TrainingImage]) -> dict[str, Any]:
    subsets = [
        {
            "img_count": _count(subset, images), "num_repeats": subset.num_repeats, "is_reg": subset.is_reg, "image_dir": _name(subset),
            "flip_aug": subset.flip_aug, "color_aug": subset.color_aug, "random_crop": subset.random_crop,
            "alpha_mask": subset.alpha_mask, "custom_attributes": subset.custom_attributes,
        }
        for subset in dataset.subsets
    ]  # fmt: skip
    return {
        "batch_size_per_device": dataset.batch_size,
        "resolution": list(dataset.resolution),
        "enable_bucket": dataset.enable_bucket,
        "subsets": subsets,
    }


def _name(subset: Subset) -> str:
    return Path(subset.name).name


def _count(subset: Subset, images: list[TrainingImage]) -> int:
    return sum(image.subset is subset for image in images)


def _tags(subset: Subset, images: list[TrainingImage]) -> dict[str, int]:
    texts = [image.caption for image in images if image.subset is subset]
    return dict(Counter(tag for text in texts for part in text.split(subset.caption_separator) if (tag := part.strip())))


def describe(images: list[TrainingImage], held_out: list[TrainingImage], num_batches: int) -> str:
    """Return what --debug_dataset prints: each image with its size, bucket, repeats, mask and caption, then the sums."""
    lines = [_line(image) for image in images] + [f"held out: {_line(image)}" for image in held_out]
    num_repeated = sum(image.num_repeats for image in images)
    lines.append(f"{len(images)} images, {num_repeated} with repeats, in {num_batches} batches per epoch; {len(held_out)} held out")
    return "\n".join(lines)


def _line(image: TrainingImage) -> str:
    mask = "alpha channel" if image.subset.alpha_mask else image.mask_path
    about = [
        f"{image.size[0]}x{image.size[1]} as {image.fit.bucket[0]}x{image.fit.bucket[1]}",
        f"{image.num_repeats} times",
        *(["regularization"] if image.subset.is_reg else []),
        *([f"mask: {mask}"] if mask else []),
        *([f"attributes: {json.dumps(image.subset.custom_attributes)}"] if image.subset.custom_attributes else []),
    ]
    return f"{image.path}: {', '.join(about)}: {image.caption!r}"

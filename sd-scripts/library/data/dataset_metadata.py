"""What a LoRA's metadata tell of the pictures it was trained on, by kohya's names, and the same in words for --debug_dataset."""

import json
from argparse import Namespace
from collections import Counter
from pathlib import Path
from typing import Any

from library.data.dataset_toml import Dataset, Subset
from library.data.image_index import Picture

VALIDATION_FLAGS = ("validation_seed", "validation_split", "max_validation_steps", "validate_every_n_epochs", "validate_every_n_steps")


def dataset_metadata(args: Namespace, pictures: list[Picture], held_out: list[Picture]) -> dict[str, Any]:
    """Return kohya's datasets, dataset_dirs, tag_frequency, bucket_info and validation figures; tables are JSON texts."""
    datasets = list({id(p.dataset): p.dataset for p in [*pictures, *held_out]}.values())
    subsets = [subset for dataset in datasets for subset in dataset.subsets]
    buckets: Counter[str] = Counter()
    for picture in pictures:
        buckets["x".join(map(str, picture.fit.bucket))] += picture.num_repeats
    tables = {
        "datasets": [_figures(dataset, pictures) for dataset in datasets],
        "dataset_dirs": {_name(s): {"n_repeats": s.num_repeats, "img_count": _count(s, pictures)} for s in subsets if not s.is_reg},
        "reg_dataset_dirs": {_name(s): {"n_repeats": s.num_repeats, "img_count": _count(s, pictures)} for s in subsets if s.is_reg},
        "tag_frequency": {_name(subset): _tags(subset, pictures) for subset in subsets},
        "bucket_info": buckets,
    }
    validation = {name: getattr(args, name) for name in VALIDATION_FLAGS} | {"num_validation_images": len(held_out)}
    return {name: json.dumps(table) for name, table in tables.items()} | validation


def _figures(dataset: Dataset, pictures: list[Picture]) -> dict[str, Any]:
    subsets = [
        {
            "img_count": _count(subset, pictures), "num_repeats": subset.num_repeats, "is_reg": subset.is_reg, "image_dir": _name(subset),
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


def _count(subset: Subset, pictures: list[Picture]) -> int:
    return sum(picture.subset is subset for picture in pictures)


def _tags(subset: Subset, pictures: list[Picture]) -> dict[str, int]:
    texts = [picture.caption for picture in pictures if picture.subset is subset]
    return dict(Counter(tag for text in texts for part in text.split(subset.caption_separator) if (tag := part.strip())))


def describe(pictures: list[Picture], held_out: list[Picture], num_batches: int) -> str:
    """Return what --debug_dataset prints: each picture with its size, bucket, repeats, mask and caption, then the sums."""
    lines = [_line(picture) for picture in pictures] + [f"held out: {_line(picture)}" for picture in held_out]
    seen = sum(picture.num_repeats for picture in pictures)
    lines.append(f"{len(pictures)} pictures, {seen} with repeats, in {num_batches} batches an epoch; {len(held_out)} held out")
    return "\n".join(lines)


def _line(picture: Picture) -> str:
    mask = "alpha channel" if picture.subset.alpha_mask else picture.mask_path
    about = [
        f"{picture.size[0]}x{picture.size[1]} as {picture.fit.bucket[0]}x{picture.fit.bucket[1]}",
        f"{picture.num_repeats} times",
        *(["regularisation"] if picture.subset.is_reg else []),
        *([f"mask: {mask}"] if mask else []),
        *([f"attributes: {json.dumps(picture.subset.custom_attributes)}"] if picture.subset.custom_attributes else []),
    ]
    return f"{picture.path}: {', '.join(about)}: {picture.caption!r}"

"""dataset.toml and the number of steps that the trainer will count for it."""

import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tomli_w

from fluxgym.config.setting_spec import Emit
from fluxgym.config.settings import DATASET_KEYS, OWN_KEYS, TrainConfig
from fluxgym.config.trainer_flags import SUBSET_FLAGS
from fluxgym.contract.buckets import GRID, Size, bounds, buckets_of
from fluxgym.errors import ConfigError


def buckets_on(config: TrainConfig) -> bool:
    """Return True if images keep their shape; on unless it was switched off."""
    return bool(config.advanced.get("enable_bucket", True))


def dataset_toml(config: TrainConfig, image_dir: Path, reg_dir: Path | None = None) -> str:
    """Return the text of dataset.toml. Raises ConfigError for a resolution or buckets that the trainer cannot have."""
    subset_keys = {key: config.advanced[key] for key in SUBSET_FLAGS if key in config.advanced}
    subset = {"image_dir": str(image_dir)} | _own_keys(config, Emit.SUBSET)
    subsets: list[dict[str, Any]] = [subset]
    extension = subset_keys.pop("caption_extension", ".txt")  # how others' captions end: a run's own are .txt
    if reg_dir is not None:
        subsets.append({"image_dir": str(reg_dir), "num_repeats": 1, "is_reg": True, "caption_extension": extension})
    general = {"shuffle_caption": False, "caption_extension": ".txt", "keep_tokens": 1} | subset_keys
    return tomli_w.dumps({"general": general, "datasets": [_dataset(config) | {"subsets": subsets}]})


def _own_keys(config: TrainConfig, emit: Emit) -> dict[str, Any]:
    return {setting.dataset_key: getattr(config, setting.name) for setting in OWN_KEYS if setting.emit is emit}


def _dataset(config: TrainConfig) -> dict[str, Any]:
    values: dict[str, Any] = _own_keys(config, Emit.DATASET) | {"batch_size": 1}
    values |= {DATASET_KEYS[key]: value for key, value in config.advanced.items() if key in DATASET_KEYS}
    values["enable_bucket"] = buckets_on(config)
    if config.resolution % GRID:
        near = max(GRID, config.resolution // GRID * GRID)
        raise ConfigError(f"The resolution {config.resolution} is no multiple of {GRID}; use {near} or {near + GRID}.", field="resolution")
    if values["enable_bucket"]:
        low, high, step = bounds(config.resolution, config.advanced)
        values |= {"min_bucket_reso": low, "max_bucket_reso": high, "bucket_reso_steps": step}
    return values


def expected_steps(config: TrainConfig, images: Sequence[Size], regularization: Sequence[Size] = ()) -> int:
    """Return the number of optimizer steps for images of these sizes (width, height), in the order of their names; 0 without images."""
    held_out = _held_out(config, len(images))
    images = [size for place, size in enumerate(images) if place not in held_out]
    if not images:
        return 0
    total = len(images) * config.num_repeats
    used = regularization[:total]
    share, more = divmod(total, len(used)) if used else (0, 0)  # the first few are seen once more than the rest
    counts: Counter[Size] = Counter()
    for sizes, repeats in ((images, config.num_repeats), (used, share), (used[:more], 1)):
        found = buckets_of(sizes, config.resolution, config.advanced, enable_bucket=buckets_on(config))
        counts.update({bucket: number * repeats for bucket, number in found.items()})
    batch = int(config.advanced.get("train_batch_size", 1))
    batches = sum(math.ceil(count / batch) for count in counts.values())
    per_epoch = math.ceil(batches / int(config.advanced.get("gradient_accumulation_steps", 1)))
    return per_epoch * config.max_train_epochs


def _held_out(config: TrainConfig, count: int) -> set[int]:
    """Return which of `count` images the trainer holds out for validation: a share, drawn by the seed and the place alone."""
    num = count - math.ceil(round(count * (1 - float(config.advanced.get("validation_split", 0.0))), 6))
    seed = config.advanced.get("validation_seed", config.seed)

    def drawn(place: int) -> int:
        return int.from_bytes(hashlib.sha256(f"{seed}/validation/{place}".encode()).digest()[:8], "big") >> 1

    return set(sorted(range(count), key=drawn)[:num])

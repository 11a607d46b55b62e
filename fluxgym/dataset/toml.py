"""dataset.toml for a run, written by a serializer from its settings."""

from pathlib import Path
from typing import Any

import tomli_w

from fluxgym.config.flags import DATASET_KEYS, SUBSET_KEYS
from fluxgym.config.train_config import TrainConfig
from fluxgym.dataset.buckets import GRID, bounds
from fluxgym.errors import ConfigError


def buckets_on(config: TrainConfig) -> bool:
    """Say whether pictures keep their shape; on unless it was switched off."""
    return bool(config.advanced.get("enable_bucket", True))


def dataset_toml(config: TrainConfig, image_dir: Path, reg_dir: Path | None = None) -> str:
    """Return the text of dataset.toml. Raises ConfigError for a resolution or buckets that the trainer cannot have."""
    subset_keys = {key: config.advanced[key] for key in SUBSET_KEYS if key in config.advanced}
    subset = {"image_dir": str(image_dir), "class_tokens": config.concept_sentence, "num_repeats": config.num_repeats}
    subsets: list[dict[str, Any]] = [subset]
    extension = subset_keys.pop("caption_extension", ".txt")  # how others' captions end: a run's own are .txt
    if reg_dir is not None:
        subsets.append({"image_dir": str(reg_dir), "num_repeats": 1, "is_reg": True, "caption_extension": extension})
    general = {"shuffle_caption": False, "caption_extension": ".txt", "keep_tokens": 1} | subset_keys
    return tomli_w.dumps({"general": general, "datasets": [_dataset(config) | {"subsets": subsets}]})


def _dataset(config: TrainConfig) -> dict[str, Any]:
    values: dict[str, Any] = {"resolution": config.resolution, "batch_size": 1}
    values |= {DATASET_KEYS[key]: value for key, value in config.advanced.items() if key in DATASET_KEYS}
    values["enable_bucket"] = buckets_on(config)
    if config.resolution % GRID:
        near = max(GRID, config.resolution // GRID * GRID)
        raise ConfigError(f"The resolution {config.resolution} is no multiple of {GRID}; use {near} or {near + GRID}.", field="resolution")
    if values["enable_bucket"]:
        low, high, step = bounds(config.resolution, config.advanced)
        values |= {"min_bucket_reso": low, "max_bucket_reso": high, "bucket_reso_steps": step}
    return values

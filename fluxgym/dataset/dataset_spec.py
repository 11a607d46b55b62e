"""The text of dataset.toml, and the number of training steps for it."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tomli_w

from fluxgym.config.setting_spec import Emit
from fluxgym.config.settings import DATASET_KEYS, OWN_KEYS, SETTINGS, TrainConfig
from fluxgym.config.trainer_flags import SUBSET_FLAGS
from fluxgym.contract.buckets import GRID, BucketRule, Size, default_bounds, default_step
from fluxgym.contract.caption_files import CAPTION
from fluxgym.contract.dataset_rules import ALL_HELD_OUT, held_out_indices, is_image_name, regularization_repeats
from fluxgym.dataset.folder import CaptionRules
from fluxgym.errors import ConfigError


def buckets_on(config: TrainConfig) -> bool:
    """Return True if aspect ratio buckets are enabled, which is the default."""
    return bool(config.flag("enable_bucket"))


def caption_rules(config: TrainConfig, *, joins_lines: bool = False) -> CaptionRules:
    """Return how a training's captions are copied; joins_lines is True for a trainer that trains the first line of a caption only.

    Raises:
        ConfigError: For an extension that no caption can have.
    """
    extension = str(config.advanced.get("caption_extension", CAPTION))
    if not re.fullmatch(r"\.[^./\\\0]+", extension) or is_image_name(f"x{extension}"):
        raise ConfigError(
            f"Captions cannot end in “{extension[:40]}”; caption_extension is a dot and letters, such as .txt.", field="advanced"
        )
    return CaptionRules(extension=extension, wildcards=bool(config.flag("enable_wildcard")), joins_lines=joins_lines)


def dataset_toml(config: TrainConfig, image_dir: Path, reg_dir: Path | None = None) -> str:
    """Return the text of dataset.toml.

    Raises:
        ConfigError: For a resolution or buckets that the trainer does not support.
    """
    subset_keys = {key: config.advanced[key] for key in SUBSET_FLAGS if key in config.advanced}
    subset = {"image_dir": str(image_dir)} | _own_keys(config, Emit.SUBSET)
    subsets: list[dict[str, Any]] = [subset]
    extension = subset_keys.pop("caption_extension", ".txt")  # of the source folder; a run's captions are .txt
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
        raise ConfigError(
            f"{SETTINGS['resolution'].label} must be a multiple of {GRID}, not {config.resolution}; use {near} or {near + GRID}.",
            field="resolution",
        )
    if values["enable_bucket"]:
        low, high, step = bucket_bounds(config)
        values |= {"min_bucket_reso": low, "max_bucket_reso": high, "bucket_reso_steps": step}
    return values


def bucket_bounds(config: TrainConfig) -> tuple[int, int, int]:
    """Return the smallest and largest bucket side and the distance between sides: the advanced settings, or defaults for the resolution.

    Raises:
        ConfigError: For bounds that the trainer refuses.
    """
    resolution, advanced = config.resolution, config.advanced
    step = int(advanced.get("bucket_reso_steps", default_step(resolution)))
    if not GRID <= step <= resolution or step % GRID:
        raise ConfigError(f"Buckets in steps of {step} do not fit the resolution {resolution}; use a multiple of {GRID}.", field="advanced")
    default_low, default_high = default_bounds(resolution, step)
    low, high = int(advanced.get("min_bucket_reso", default_low)), int(advanced.get("max_bucket_reso", default_high))
    if not low <= resolution <= high:
        raise ConfigError(f"Buckets of {low} to {high} pixels do not enclose the resolution {resolution}.", field="advanced")
    return low, high, step


def bucket_rule(config: TrainConfig) -> BucketRule:
    """Return the bucket settings of dataset.toml.

    Raises:
        ConfigError: For invalid ones.
    """
    square = config.resolution, config.resolution
    if not buckets_on(config):
        return BucketRule(resolution=square, enabled=False)
    low, high, step = bucket_bounds(config)
    no_upscale = bool(config.flag("bucket_no_upscale"))
    return BucketRule(resolution=square, enabled=True, low=low, high=high, step=step, no_upscale=no_upscale)


def expected_steps(config: TrainConfig, images: Sequence[Size], regularization: Sequence[Size] = ()) -> int:
    """Return the number of optimizer steps for images of these sizes (width, height), sorted by name; 0 without images.

    Raises:
        ConfigError: If --validation_split leaves no image to train on, or the buckets are invalid.
    """
    if not images:
        return 0
    seed = config.flag("validation_seed")
    held_out = held_out_indices(len(images), float(config.flag("validation_split")), config.seed if seed is None else seed)
    images = [size for index, size in enumerate(images) if index not in held_out]
    if not images:
        raise ConfigError(ALL_HELD_OUT, field="advanced")
    repeats = Counter({size: count * config.num_repeats for size, count in Counter(images).items()})
    extra = regularization_repeats([1] * len(regularization), repeats.total())
    for size, count in zip(regularization, extra, strict=True):
        repeats[size] += count
    return _steps_per_epoch(config, repeats) * config.max_train_epochs


def _steps_per_epoch(config: TrainConfig, repeats: Counter[Size]) -> int:
    """Return the optimizer steps per epoch; repeats counts how often an epoch shows images of each size."""
    rule = bucket_rule(config)
    buckets: Counter[Size] = Counter()
    for size, count in repeats.items():
        buckets[rule.fit(size).bucket] += count
    batch_size = int(config.flag("train_batch_size"))
    num_batches = sum(math.ceil(count / batch_size) for count in buckets.values())
    return math.ceil(num_batches / int(config.flag("gradient_accumulation_steps")))

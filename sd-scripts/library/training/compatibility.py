"""Which settings a resume may not change, and which changes it reports."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import fields
from typing import Any

import torch

from library.config import TrainerConfig
from library.data.dataset import TrainingData
from library.data.image_index import TrainingImage
from library.data.schema import DATASET_FIELDS, SUBSET_FIELDS, Dataset, Subset
from library.errors import TrainerError
from library.placement.compile import backend_of
from library.training.checkpoint import TrainState
from library.weights.model_files import fingerprint

IGNORED_FLAG_PREFIXES = (
    "output_", "save_", "sample_", "metadata_", "log_", "console_", "wandb_", "max_train_", "initial_", "resume", "logging_dir",
    "config_file", "dataset_config", "train_data_dir", "reg_data_dir", "no_metadata", "training_comment", "skip_until_initial_step",
    "max_data_loader_n_workers", "persistent_data_loader_workers", "tokenizer_cache_dir", "network_weights",
)  # fmt: skip
MODELS = ("pretrained_model_name_or_path", "ae", "clip_l", "t5xxl", "base_weights")
PATHS_AND_LAYOUT = {"image_dir", "metadata_file", "conditioning_data_dir", "num_repeats", "is_reg", "batch_size", "subsets"}
IMAGES_CHANGED = {
    "num_batches_per_epoch": "the images, their repeats or the batch size",
    "pictures": "the names, repeats, sizes or batch size of the images",
}
PUT_BACK = (
    "Put the images and settings of that time back to resume, or start a new training from its LoRA with --network_weights and the images "
    "of now."
)
FLAGS_OF = {"compiled_by": "--torch_compile and --dynamo_backend"}
DATA_FLAGS = {*DATASET_FIELDS, *SUBSET_FIELDS} | {"train_batch_size", "dataset_repeats", "in_json"}  # compared as the data sets' options


def fixed_settings(config: TrainerConfig, data: TrainingData, device: torch.device) -> dict[str, Any]:
    """Return the settings that give a checkpoint's position and tensors their meaning; a resume with others is refused."""
    network = config.network
    return {
        "seed": config.run.seed,
        "num_batches_per_epoch": data.num_batches_per_epoch,
        "gradient_accumulation_steps": config.optim.gradient_accumulation_steps,
        "optimizer_type": config.optim.optimizer_type.lower(),
        "network_module": str(network.network_module),
        "network_dim": network.network_dim,
        "network_alpha": network.network_alpha,
        "network_args": sorted(config.flag_values["network_args"] or ()),
        "pictures": layout_of(data.images),  # the key in existing checkpoints
        "compiled_by": backend_of(config.placement, device),
    }


def layout_of(images: Iterable[TrainingImage]) -> str:
    """Hash the images of an epoch: names, repeats, sizes, batch sizes. Their content may change."""
    rows = [[image.path.name, image.num_repeats, *image.fit.bucket, image.subset.is_reg, image.dataset.batch_size] for image in images]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]


def other_settings(config: TrainerConfig, data: TrainingData) -> dict[str, Any]:
    """Return the settings that shape a training and may change at a resume, as JSON values: flags, model contents, data set options."""
    compared_elsewhere = {*MODELS, *DATA_FLAGS}
    values = {
        name: value
        for name, value in config.flag_values.items()
        if not name.startswith(IGNORED_FLAG_PREFIXES) and name not in compared_elsewhere
    }
    values |= {f"content of --{name}": _content(config.flag_values[name]) for name in MODELS} | _data_options(data.images)
    shaping = {name: value for name, value in values.items() if value not in (None, False, "", [])}
    as_json: dict[str, Any] = json.loads(json.dumps(shaping, default=str))
    return as_json


def _content(paths: str | list[str] | None) -> list[str]:
    """Return the fingerprints of one or more model files, wherever they are stored."""
    return [fingerprint(path)[:12] for path in ([paths] if isinstance(paths, str) else paths or ())]


def _data_options(images: Iterable[TrainingImage]) -> dict[str, Any]:
    """Return the options of data sets and subsets that differ from their defaults, without paths and what layout_of covers."""
    datasets = list({id(image.dataset): image.dataset for image in images}.values())
    options: dict[str, Any] = {}
    for dataset_number, dataset in enumerate(datasets, 1):
        options |= _changed(dataset, f"data set {dataset_number}")
        for subset_number, subset in enumerate(dataset.subsets, 1):
            options |= _changed(subset, f"data set {dataset_number}, subset {subset_number},")
    return options


def _changed(options: Dataset | Subset, owner: str) -> dict[str, Any]:
    values = {field.name: getattr(options, field.name) for field in fields(options) if field.name not in PATHS_AND_LAYOUT}
    return {f"{owner} {name}": value for name, value in values.items() if value != getattr(type(options), name, None)}


def check_fixed(state: TrainState, fixed: dict[str, Any], source: object) -> None:
    """Raise TrainerError naming the first fixed setting that differs from the checkpoint's; older checkpoints record fewer."""
    for name, value in fixed.items():
        if name not in state.fixed or state.fixed[name] == value:
            continue
        if name in IMAGES_CHANGED:
            before = f": an epoch had {state.fixed[name]} batches then and has {value} now" if name == "num_batches_per_epoch" else ""
            raise TrainerError(f"--resume {source}: {IMAGES_CHANGED[name]} changed since the checkpoint{before}. {PUT_BACK}")
        raise TrainerError(
            f"--resume {source}: the checkpoint was made with {FLAGS_OF.get(name, name)} = {state.fixed[name]}, now it is {value}; "
            "resume with the settings and images that it was made with."
        )


def print_changed_settings(state: TrainState, settings: dict[str, Any]) -> None:
    """Print which settings differ from the checkpoint's; the training continues with the new ones."""
    names = sorted(set(state.settings) | set(settings)) if state.settings else []
    changed = [name for name in names if state.settings.get(name) != settings.get(name) and name not in state.fixed]
    if changed:
        changes = ", ".join(f"{name} {state.settings.get(name, 'off')} → {settings.get(name, 'off')}" for name in changed)
        print(f"resuming with changed settings, so the result differs from the uninterrupted training's: {changes}", flush=True)

"""What has to be the same when a training is resumed, and what may change.

Owns which settings give a checkpoint its meaning. Reading and writing one belongs to checkpoint.py, kohya's own folders to kohya_state.py.
"""

import hashlib
import json
from argparse import Namespace
from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from library.data.dataset import TrainingData, TrainingImage
from library.data.dataset_toml import DATASET_FIELDS, SUBSET_FIELDS
from library.errors import TrainerError
from library.optim.optimizers import optimizer_name
from library.placement.compile import backend_of
from library.placement.layout import choose_device
from library.training.checkpoint import TrainState
from library.weights.model_files import fingerprint

NOT_THE_TRAINING = (
    "output_", "save_", "sample_", "metadata_", "log_", "console_", "wandb_", "max_train_", "initial_", "resume", "logging_dir",
    "config_file", "dataset_config", "train_data_dir", "reg_data_dir", "no_metadata", "training_comment", "skip_until_initial_step",
    "max_data_loader_n_workers", "persistent_data_loader_workers", "tokenizer_cache_dir", "network_weights",
)  # fmt: skip
MODELS = ("pretrained_model_name_or_path", "ae", "clip_l", "t5xxl", "base_weights")
PLACES = {"image_dir", "metadata_file", "conditioning_data_dir", "num_repeats", "is_reg", "batch_size", "subsets"}  # or held by layout_of
NAMED_BY = {"compiled_by": "--torch_compile and --dynamo_backend"}
DATA_FLAGS = {*DATASET_FIELDS, *SUBSET_FIELDS} | {"train_batch_size", "dataset_repeats", "in_json"}  # told as the data sets' options


def fixed_settings(args: Namespace, data: TrainingData) -> dict[str, Any]:
    """Return what a checkpoint's place and tensors mean something under; a resume under another is refused."""
    return {
        "seed": args.seed,
        "num_batches_per_epoch": data.num_batches_per_epoch,
        "gradient_accumulation_steps": args.gradient_accumulation_steps,
        "optimizer_type": optimizer_name(args).lower(),
        "network_module": args.network_module,
        "network_dim": args.network_dim,
        "network_alpha": args.network_alpha,
        "network_args": sorted(args.network_args or []),
        "pictures": layout_of(data.images),
        "compiled_by": backend_of(args, choose_device()),
    }


def layout_of(images: Iterable[TrainingImage]) -> str:
    """Hash which images an epoch is made of: names, repeats, sizes, batch sizes. What they show may be changed."""
    rows = [[p.path.name, p.num_repeats, *p.fit.bucket, p.subset.is_reg, p.dataset.batch_size] for p in images]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]


def other_settings(args: Namespace, data: TrainingData) -> dict[str, Any]:
    """Return what shapes the training and may be changed at a resume, as JSON holds it: flags, the models' content, the data sets' options."""
    elsewhere = {*MODELS, *DATA_FLAGS}
    told = {name: value for name, value in vars(args).items() if not name.startswith(NOT_THE_TRAINING) and name not in elsewhere}
    told |= {f"content of --{name}": _content(getattr(args, name)) for name in MODELS} | _data_options(data.images)
    return json.loads(json.dumps({name: value for name, value in told.items() if value not in (None, False, "", [])}, default=str))


def _content(paths: str | list[str] | None) -> list[str]:
    """Name the content of one or more models, wherever they lie."""
    return [fingerprint(path)[:12] for path in ([paths] if isinstance(paths, str) else paths or ())]


def _data_options(images: Iterable[TrainingImage]) -> dict[str, Any]:
    """Return the options of the data sets and subsets that are not at their defaults, but for places and for what layout_of holds."""
    datasets = list({id(image.dataset): image.dataset for image in images}.values())
    options: dict[str, Any] = {}
    for number, dataset in enumerate(datasets, 1):
        options |= _changed(dataset, f"data set {number}")
        for place, subset in enumerate(dataset.subsets, 1):
            options |= _changed(subset, f"data set {number}, subset {place},")
    return options


def _changed(options: Any, owner: str) -> dict[str, Any]:
    given = {field.name: getattr(options, field.name) for field in fields(options) if field.name not in PLACES}
    return {f"{owner} {name}": value for name, value in given.items() if value != getattr(type(options), name, None)}


def check_fixed(state: TrainState, fixed: dict[str, Any], source: str) -> None:
    """Raise TrainerError naming the first setting under which a checkpoint's place means something else."""
    for name, value in fixed.items():
        if name not in state.fixed or state.fixed[name] == value:
            continue  # older checkpoints do not tell of all
        if name == "pictures":
            raise TrainerError(f"--resume {source}: the images are not those that it was made with (names, repeats, sizes or batch size).")
        raise TrainerError(
            f"--resume {source}: the checkpoint was made with {NAMED_BY.get(name, name)} = {state.fixed[name]}, now it is {value}; "
            "resume with the settings and images that it was made with."
        )


def print_changed_settings(state: TrainState, settings: dict[str, Any]) -> None:
    """Print which flags are others than the checkpoint's: the training goes on with the new ones."""
    names = sorted(set(state.settings) | set(settings)) if state.settings else []
    changed = [name for name in names if state.settings.get(name) != settings.get(name) and name not in state.fixed]
    if changed:
        told = ", ".join(f"{name} {state.settings.get(name, 'off')} → {settings.get(name, 'off')}" for name in changed)
        print(f"resuming with changed settings, so not as the uninterrupted training would go on: {told}", flush=True)

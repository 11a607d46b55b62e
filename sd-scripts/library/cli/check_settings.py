"""Check a training's command line and data set as the trainer does, reading only headers of models: the app runs it before Start.

Reads {"argv": [...], "chosen": [name, ...] or null, "steps_per_epoch": number or null, "has_gpu": true or false} from stdin and prints
{"error": sentence or null, "unchecked": [flag, ...]}. `chosen` are the flags that the user chose, null if that is not known: the optimizer
and the schedule are tried only if one of these flags changes them, since importing their packages takes seconds. A custom class is not
imported, since that executes it; its flag is in `unchecked`. The images are not read: the optimizer steps of an epoch are given, or what
depends on them is not checked. This process uses no GPU; has_gpu says that the training has one.
"""

import contextlib
import json
import sys
from argparse import Namespace
from collections.abc import Collection
from dataclasses import fields
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

import torch

import library  # noqa: F401, makes fluxgym.contract importable
from fluxgym.contract.packages import CLASS_PACKAGES
from library.cli.parse import read_flags, to_config
from library.config import OptimConfig, TrainerConfig
from library.errors import TrainerError
from library.placement.compile import check_backend
from library.training.position import start_position
from library.training.preflight.context import check_optimizer
from library.training.preflight.optimizer import try_schedule
from library.training.preflight.settings import check_settings

CLASSES = {"optimizer_type": "optimizer_args", "lr_scheduler_type": "lr_scheduler_args"}
OPTIMIZER_FLAGS = {field.name for field in fields(OptimConfig)} | {"use_8bit_adam", "use_lion_optimizer", "full_bf16"}


def main() -> int:
    """Check what stdin holds; returns the exit code, 0 whatever the result is."""
    request = json.load(sys.stdin)
    with contextlib.redirect_stdout(sys.stderr):
        error, unchecked = check(**request)
    print(json.dumps({"error": error, "unchecked": unchecked}))
    return 0


def check(
    argv: list[str], steps_per_epoch: int | None = None, has_gpu: bool = False, chosen: Collection[str] | None = None
) -> tuple[str | None, list[str]]:
    """Return the sentence of the first refusal, None if there is none, and the flags that name a class that was not imported."""
    unchecked: list[str] = []
    try:
        flags, unchecked = _without_own_classes(read_flags(argv))
        config = to_config(flags)
        check_settings(config)
        check_backend(config.placement)
        num_steps = start_position(config, steps_per_epoch, None).total_steps if steps_per_epoch else None
        if chosen is None or OPTIMIZER_FLAGS.intersection(chosen):
            check_optimizer(config, torch.device("cpu"), is_conclusive=not has_gpu)
            if num_steps:
                try_schedule(config.optim, num_steps)
        _check_network(config)
    except TrainerError as error:
        return str(error), unchecked
    return None, unchecked


def _check_network(config: TrainerConfig) -> None:
    """Refuse a network that does not fit the models' headers; one without settings of its own fits each model."""
    network = config.network
    if config.flag_values["network_args"] or network.network_weights or network.network_train_text_encoder_only:
        from library.training.preflight.models import find_fitting_family  # loads transformers, which takes seconds

        find_fitting_family(config)


def _without_own_classes(flags: Namespace) -> tuple[Namespace, list[str]]:
    """Return flags without those that name a class outside the trainer's packages and without their arguments; and the names of these flags."""
    names = [name for name in CLASSES if "." in (path := getattr(flags, name) or "") and path.split(".")[0] not in CLASS_PACKAGES]
    removed = dict.fromkeys(names, "") | {CLASSES[name]: None for name in names}
    return Namespace(**vars(flags) | removed), names


if __name__ == "__main__":
    sys.exit(main())

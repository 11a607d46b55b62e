"""Check a training's command line and data set as the trainer does, reading only headers of models: the app runs it before Start.

Reads {"argv": [...], "steps_per_epoch": number or null, "has_gpu": true or false} from stdin and prints {"error": sentence or null,
"unchecked": [flag, ...]}. A class of the user's own is not imported, since that executes it; its flag is in `unchecked`. The images are not
read: the optimizer steps of an epoch are given, or what depends on them is not checked. This process uses no GPU; has_gpu says that the
training has one.
"""

import contextlib
import json
import sys
from argparse import Namespace
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

import torch

import library  # noqa: F401, makes fluxgym.contract importable
from fluxgym.contract.packages import CLASS_PACKAGES
from library.cli.parse import read_flags, to_config
from library.config import TrainerConfig
from library.errors import TrainerError
from library.optim.trial import try_schedule
from library.training.checks_without_torch import check_without_torch
from library.training.position import start_position
from library.training.preflight import check_before_loading

CLASSES = {"optimizer_type": "optimizer_args", "lr_scheduler_type": "lr_scheduler_args"}


def main() -> int:
    """Check what stdin holds; returns the exit code, 0 whatever the result is."""
    asked = json.load(sys.stdin)
    with contextlib.redirect_stdout(sys.stderr):
        error, unchecked = check(**asked)
    print(json.dumps({"error": error, "unchecked": unchecked}))
    return 0


def check(argv: list[str], steps_per_epoch: int | None = None, has_gpu: bool = False) -> tuple[str | None, list[str]]:
    """Return the sentence of the first refusal, None if there is none, and the flags that name a class that was not imported."""
    unchecked: list[str] = []
    try:
        flags = read_flags(argv)
        unchecked = _remove_own_classes(flags)
        config = to_config(flags)
        check_without_torch(config)
        check_before_loading(config, torch.device("cpu"), is_conclusive=not has_gpu)
        if steps_per_epoch:
            try_schedule(config.optim, start_position(config, steps_per_epoch, None).total_steps)
        _check_network(config)
    except TrainerError as error:
        return str(error), unchecked
    return None, unchecked


def _check_network(config: TrainerConfig) -> None:
    """Refuse a network that does not fit the models' headers; one without settings of its own fits each model."""
    network = config.network
    if network.network_args or network.network_weights or network.network_train_text_encoder_only:
        from library.training.loaded_models import find_fitting_family  # loads transformers, which takes seconds

        find_fitting_family(config)


def _remove_own_classes(flags: Namespace) -> list[str]:
    """Reset the flags that name a class outside the trainer's own packages, with their arguments, and return their names."""
    own = [name for name in CLASSES if "." in (given := getattr(flags, name) or "") and given.split(".")[0] not in CLASS_PACKAGES]
    for name in own:
        setattr(flags, name, "")
        setattr(flags, CLASSES[name], None)
    return own


if __name__ == "__main__":
    sys.exit(main())

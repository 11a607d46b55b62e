"""The trainer's configuration as tests need it: flags as keyword arguments, through the real parser."""

from typing import Any

from library.cli.parse import parse
from library.config import TrainerConfig

REQUIRED = {
    "pretrained_model_name_or_path": "flux.safetensors", "ae": "ae.safetensors", "clip_l": "clip_l.safetensors",
    "t5xxl": "t5xxl.safetensors", "output_dir": "out", "dataset_config": "dataset.toml", "seed": 1,
}  # fmt: skip


def trainer_config(*argv: str, **flags: Any) -> TrainerConfig:
    """Return the configuration of a training with these flags; what the parser requires has a default here.

    True is a switch, None and False leave a flag out, a list or tuple is a flag of several values.
    """
    other_data = {"dataset_config": None} if {"train_data_dir", "in_json"} & set(flags) else {}
    return parse([*words({**REQUIRED, **other_data, **flags}), *argv])


def words(flags: dict[str, Any]) -> list[str]:
    """Return flags as the words of a command line."""
    found: list[str] = []
    for name, value in flags.items():
        if value is None or value is False:
            continue
        if value is True:
            found.append(f"--{name}")
        elif isinstance(value, (list, tuple)):
            found += [f"--{name}", *map(str, value)]
        else:
            found.append(f"--{name}={value}")
    return found

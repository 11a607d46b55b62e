"""The trainer's flags, read from flags.json, and which values each accepts. A test checks that flags.json equals the trainer's parser.

Flags that have a form field of their own are rows of `settings`; this module does not know the form.
"""

import json
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from fluxgym.config.values import is_text, number_hint, short
from fluxgym.errors import ConfigError

# Flags with a key of the same name in dataset.toml: first keys of a data set, then keys of one of its folders.
DATASET_FLAGS = ("min_bucket_reso", "max_bucket_reso", "bucket_reso_steps", "bucket_no_upscale", "resize_interpolation")
SUBSET_FLAGS = (
    "keep_tokens", "shuffle_caption", "caption_prefix", "caption_suffix", "caption_separator", "keep_tokens_separator", "secondary_separator",
    "enable_wildcard", "flip_aug", "random_crop", "caption_dropout_rate", "caption_dropout_every_n_epochs", "caption_tag_dropout_rate",
    "caption_extension",
)  # fmt: skip
NOT_FOR_A_RUN = (
    "dataset_config", "output_dir", "output_name", "resume", "pretrained_model_name_or_path", "ae", "clip_l", "t5xxl", "sample_prompts",
    "config_file", "output_config", "huggingface_token", "wandb_api_key", "train_data_dir", "in_json",
    "debug_dataset",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Flag:
    """One flag of the trainer: its name without dashes, its type, and whether it is honored."""

    name: str
    type: str
    default: Any
    choices: tuple[Any, ...] | None
    nargs: str | None
    minimum: float | None
    maximum: float | None
    help: str
    support: str
    reason: str


@cache
def all_flags() -> dict[str, Flag]:
    """Return every flag by name."""
    rows = json.loads(Path(__file__).with_name("flags.json").read_text(encoding="utf-8-sig"))
    flags = (
        Flag(
            name=str(row["flag"]).lstrip("-"),
            type=row["type"],
            default=row.get("default"),
            choices=tuple(row["choices"]) if row.get("choices") else None,
            nargs=row.get("nargs"),
            minimum=row.get("minimum"),
            maximum=row.get("maximum"),
            help=row.get("help", ""),
            support=row.get("support", "honored"),
            reason=row.get("reason", ""),
        )
        for row in rows
    )
    return {flag.name: flag for flag in flags}


def check_flag(name: str, value: Any) -> None:
    """Raise ConfigError if the trainer does not have or support a flag, or not this value; a misspelled name gets the nearest known one."""
    flag = all_flags().get(name)
    if not is_text(name):
        raise ConfigError("An advanced setting's name holds a character that files cannot hold.", field="advanced")
    if flag is None:
        near = get_close_matches(name, all_flags(), n=1)
        hint = f" Did you mean {near[0]}?" if near else " Use kohya's flag names, without the dashes."
        raise ConfigError(f"The advanced setting “{name}” is not known.{hint}", field="advanced")
    if name in NOT_FOR_A_RUN:
        raise ConfigError(f"The advanced setting “{name}” is set by FluxGym itself; leave it out.", field="advanced")
    if flag.support == "refused":
        raise ConfigError(f"The advanced setting “{name}” is not supported: {flag.reason}", field="advanced")
    _check_value(flag, value)


def _check_value(flag: Flag, value: Any) -> None:
    """Raise ConfigError when `value` cannot be given to the flag."""
    if flag.nargs:
        values = value if isinstance(value, list) else [value]
    else:
        values = [value]
    for item in values:
        if isinstance(item, str) and item.startswith("-"):
            raise ConfigError(
                f"The advanced setting “{flag.name}” cannot begin with a dash: “{item[:40]}” would be another flag.", field="advanced"
            )
        if isinstance(item, str) and not is_text(item):
            raise ConfigError(
                f"The advanced setting “{flag.name}” is too long or holds a character that files cannot hold.", field="advanced"
            )
        if not _fits(flag.type, item):
            raise ConfigError(
                f"The advanced setting “{flag.name}” needs {_KINDS.get(flag.type, 'a text')}, not “{short(item)}”.{_hint(flag, item)}",
                field="advanced",
            )
        if flag.minimum is not None and item < flag.minimum:
            raise ConfigError(f"The advanced setting “{flag.name}” must be at least {flag.minimum:g}, not {short(item)}.", field="advanced")
        if flag.maximum is not None and item > flag.maximum:
            raise ConfigError(f"The advanced setting “{flag.name}” must be at most {flag.maximum:g}, not {short(item)}.", field="advanced")
        if flag.choices and item not in flag.choices:
            raise ConfigError(
                f"The advanced setting “{flag.name}” must be one of {', '.join(map(str, flag.choices))}, not “{short(item)}”.",
                field="advanced",
            )


def _hint(flag: Flag, item: Any) -> str:
    return number_hint(item) if isinstance(item, str) and flag.type in ("int", "float", "int_or_float") else ""


_KINDS = {"flag": "true or false", "int": "a whole number", "float": "a number", "int_or_float": "a number"}


def _fits(flag_type: str, value: Any) -> bool:
    if flag_type == "flag":
        return isinstance(value, bool)
    if flag_type == "int":
        return isinstance(value, int) and not isinstance(value, bool)
    if flag_type in ("float", "int_or_float"):
        return isinstance(value, (int, float)) and not isinstance(value, bool) and value == value and abs(value) != float("inf")
    return isinstance(value, str)

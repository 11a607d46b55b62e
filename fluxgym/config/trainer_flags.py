"""The trainer's flags, read from flags.json, and which values each accepts. A test checks that flags.json equals the trainer's parser.

Flags that have a form field of their own are rows of `settings`; this module does not know the form.
"""

import json
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from fluxgym.config.values import MAX_RATE, integer_hint, is_text, number_hint, short, unwritable
from fluxgym.contract.learning import RATES, learns_nothing
from fluxgym.errors import ConfigError

# Flags with a key of the same name in dataset.toml: first keys of a data set, then keys of one of its folders.
_TYPE_NAMES = {"flag": "true or false", "int": "a whole number", "float": "a number", "int_or_float": "a number"}
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


def check_flag(name: str, value: Any, *, subject: str = "", field: str = "advanced", typed: str | None = None) -> None:
    """Raise ConfigError if the trainer does not have or support a flag, or not this value; a misspelled name gets the nearest known one.

    subject is what the form calls the flag, and field its field, if it has one of its own. typed is the text that the value was read
    from, which the message quotes.
    """
    flag = all_flags().get(name)
    if not is_text(name):
        raise ConfigError(f"An advanced setting's name {unwritable(name)}", field="advanced")
    subject = subject or f"The advanced setting “{name}”"
    if flag is None:
        near = get_close_matches(name, all_flags(), n=1)
        hint = f" Did you mean {near[0]}?" if near else " Use kohya's flag names, without the dashes."
        raise ConfigError(f"{subject} is not known.{hint}", field=field)
    if name in NOT_FOR_A_RUN:
        raise ConfigError(f"{subject} is set by FluxGym itself; leave it out.", field=field)
    if flag.support == "refused":
        raise ConfigError(f"{subject} is not supported: {flag.reason}", field=field)
    for item in value if flag.nargs and isinstance(value, list) else [value]:
        if complaint := _complaint(flag, item, short(item if typed is None else typed)):
            raise ConfigError(f"{subject} {complaint}", field=field)


def _complaint(flag: Flag, item: Any, quoted: str) -> str:
    """Return why a value cannot be given to a flag, as the end of a sentence; "" if it can."""
    if isinstance(item, str) and item.startswith("-"):
        return f"cannot begin with a dash: “{item[:40]}” would be another flag."
    if isinstance(item, str) and (bad := unwritable(item)):
        return bad
    if not _fits(flag.type, item):
        return f"needs {_TYPE_NAMES.get(flag.type, 'a text')}, not “{quoted}”.{_hint(flag, item)}"
    if flag.minimum is not None and item < flag.minimum:
        return f"must be at least {_limit(flag.minimum)}, not {quoted}."
    maximum = MAX_RATE if flag.name in RATES else flag.maximum  # the trainer's own limit of rates is far higher
    if maximum is not None and item > maximum:
        return f"must be at most {_limit(maximum)}, not {quoted}."
    if flag.choices and item not in flag.choices:
        return f"must be one of {', '.join(map(str, flag.choices))}, not “{quoted}”."
    why = learns_nothing(flag.name, item)
    return f"{quoted} {why}." if why else ""


def _limit(limit: float) -> str:
    return str(limit) if isinstance(limit, int) else f"{limit:g}"


def _hint(flag: Flag, item: Any) -> str:
    if not isinstance(item, str):
        return ""
    return integer_hint(item) if flag.type == "int" else number_hint(item) if flag.type in ("float", "int_or_float") else ""


def _fits(flag_type: str, value: Any) -> bool:
    if flag_type == "flag":
        return isinstance(value, bool)
    if flag_type == "int":
        return isinstance(value, int) and not isinstance(value, bool)
    if flag_type in ("float", "int_or_float"):
        return isinstance(value, (int, float)) and not isinstance(value, bool) and value == value and abs(value) != float("inf")
    return isinstance(value, str)

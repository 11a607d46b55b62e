"""The command line and the file of --config_file become one frozen TrainerConfig; no flag is silently ignored."""

import itertools
import json
import random
from argparse import Namespace
from dataclasses import fields
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

from fluxgym.contract.files import TRAIN_STATE
from library import config
from library.cli.config_file import words_of, write_settings
from library.cli.flag_checks import check_flags, flags_without_effect, warn_of_little_learning
from library.cli.flags import build_parser, rows
from library.config import NetworkModule, TrainerConfig
from library.data.schema import DATASET_FIELDS, NOT_FROM_FLAGS, SUBSET_FIELDS
from library.errors import TrainerError, warn

DEFAULT_RANK = 4
MODELSPEC = (
    "title", "author", "description", "license", "tags", "usage_hint", "trigger_phrase", "merged_from", "thumbnail", "preprocessor",
    "is_negative_embedding",
)  # fmt: skip
Group = TypeVar("Group")


def parse(argv: list[str]) -> TrainerConfig:
    """Return the configuration that a command line gives.

    Flags without effect are accepted with a printed warning.

    Raises:
        TrainerError: Naming the flag that is unknown, refused, missing, or has a value it cannot have.
    """
    return to_config(read_flags(argv))


def read_flags(argv: list[str]) -> Namespace:
    """Return the flags as given, including those of --config_file; the command line wins. Warn of a flag without effect.

    Raises:
        TrainerError: If a flag is unknown, unreadable or refused.
    """
    args = _read(argv)
    for row in rows():
        if getattr(args, row["flag"][2:]) == row["default"]:
            continue
        if row["support"] == "refused":
            raise TrainerError(f"{row['flag']} is not supported: {row['reason']}.")
        if row["support"] == "ignored":
            _warn_no_effect(row["flag"], row["reason"])
    return args


def _read(argv: list[str]) -> Namespace:
    parser = build_parser()
    _refuse_values_of_switches(argv)
    args, unknown = parser.parse_known_args(argv)
    if unknown:
        raise TrainerError(_unknown(unknown[0]))
    if not args.config_file or args.output_config:
        return args
    words = words_of(args.config_file, rows(), _unknown)
    try:
        parser.parse_args(words)
    except TrainerError as error:
        raise TrainerError(f"--config_file {args.config_file}: {error}") from None
    both = parser.parse_args(words + argv)
    lists = {row["flag"][2:] for row in rows() if row.get("nargs")}  # the command line's values replace those of the file
    return Namespace(**vars(both) | {name: value for name, value in vars(args).items() if name in lists and value is not None})


def _refuse_values_of_switches(argv: list[str]) -> None:
    """Raise TrainerError for a value after a flag that takes none, such as `--split_mode max` or `--split_mode=true`."""
    switches = {row["flag"] for row in rows() if row["type"] == "flag"}
    for word, following in itertools.zip_longest(argv, argv[1:], fillvalue="--"):
        flag, equals, value = word.partition("=")
        value = value if equals else following
        if flag in switches and (equals or not value.startswith("--")) and not _is_line_end(value):
            raise TrainerError(f"{flag} takes no value; remove “{value}”.")


def _is_line_end(word: str) -> bool:
    """Return True if a word is left over from a backslash that no longer continues a line of a shell script."""
    return word.strip() in ("", "\\")


def _unknown(word: str) -> str:
    if _is_line_end(word):
        return (
            "a backslash is left over from the end of a line: the last line needs none, and no space or carriage return may follow one; "
            "remove it."
        )
    if not word.startswith("--"):
        return f"“{word}” belongs to no flag; put texts with spaces into quotes."
    name = word.split("=")[0]
    flags = [row["flag"] for row in rows()]
    near = [flag for flag in flags if flag.startswith(name)] or get_close_matches(name, flags, n=1)
    return f"{name} is not a flag of this trainer." + (f" Did you mean {near[0]}?" if near else "")


def write_config(args: Namespace) -> Path:
    """Write the flags that are not at their defaults to the file of --config_file, which must not exist yet; returns its path."""
    defaults = {row["flag"][2:]: row["default"] for row in rows()} | {"config_file": args.config_file, "output_config": True}
    return write_settings(args.config_file, {name: value for name, value in vars(args).items() if value != defaults[name]})


def to_config(args: Namespace) -> TrainerConfig:
    """Check the flags, fill in values that derive from other flags, and return the configuration.

    Raises:
        TrainerError: As `parse` does.
    """
    check_flags(args)
    for flag, reason in flags_without_effect(args):
        _warn_no_effect(flag, reason)
    warn_of_little_learning(args)
    given = _settled(args)
    return TrainerConfig(
        data=_group(config.DataConfig, given, dataset_defaults=_dataset_defaults(given)),
        model=_group(config.ModelConfig, given),
        placement=_group(config.PlacementConfig, given, **_placement(given)),
        network=_group(config.NetworkConfig, given, base_weights=_base_weights(given)),
        optim=_group(config.OptimConfig, given, optimizer_type=_optimizer_type(given), **_rates(given)),
        loss=_group(config.LossConfig, given, **_loss_defaults(given)),
        sample=_group(config.SampleConfig, given),
        validation=_group(config.ValidationConfig, given, validation_seed=_validation_seed(given)),
        save=_group(config.SaveConfig, given, modelspec={name: given[f"metadata_{name}"] for name in MODELSPEC}),
        log=_group(config.LogConfig, given),
        run=_group(config.RunConfig, given, start=_group(config.StartConfig, given)),
        given=given,
    )


def _warn_no_effect(flag: str, reason: str) -> None:
    warn(f"{flag} has no effect: {reason}")


def _group(kind: type[Group], given: dict[str, Any], **settled: Any) -> Group:
    """Make one group of the flags with its fields' names; what is not set keeps the field's default."""
    hints = get_type_hints(kind)
    values = {each.name: given[each.name] for each in fields(kind) if each.name not in settled and each.name in given}  # type: ignore[arg-type]
    converted = {name: _convert(hints[name], value) for name, value in values.items() if value not in (None, "")}
    return kind(**converted, **settled)


def _convert(hint: Any, value: Any) -> Any:
    """Return a flag's value as its field has it: a tuple for a list, the enum's member or the Path where one is expected."""
    if isinstance(value, list):
        return tuple(value)
    kinds = [each for each in (hint, *get_args(hint)) if isinstance(each, type) and issubclass(each, (StrEnum, Path))]
    return kinds[0](value) if kinds else value


def _settled(args: Namespace) -> dict[str, Any]:
    """Return all flags, with the values that derive from other flags filled in."""
    given = dict(vars(args))
    given["cache_latents"] |= given["cache_latents_to_disk"]
    given["cache_text_encoder_outputs"] |= given["cache_text_encoder_outputs_to_disk"]
    given["fp8_base"] = (given["fp8_base"] or given["fp8_base_unet"]) and given["base_quantization"] in (None, "fp8")
    given["caption_extension"] = given["caption_extention"] or given["caption_extension"]  # kohya's old spelling
    given["network_module"] = given["network_module"] or str(NetworkModule.LORA)
    given["network_dim"] = given["network_dim"] or DEFAULT_RANK
    given["network_alpha"] = given["network_alpha"] or given["network_dim"]  # 0 means the rank, a scale of 1
    given["output_name"] = given["output_name"] or "last"
    given["seed"] = _seed(given)
    return given


def _seed(given: dict[str, Any]) -> int:
    """Return the seed: as given, else the resumed checkpoint's, else a drawn one, which is printed."""
    given_seed: int | None = given["seed"]
    if given_seed is not None:
        return given_seed
    if (seed := _seed_of_checkpoint(given["resume"])) is not None:
        return seed
    seed = random.SystemRandom().randrange(2**32)
    print(f"--seed was not given; {seed} was drawn", flush=True)
    return seed


def _seed_of_checkpoint(folder: str | None) -> int | None:
    """Return the seed that a checkpoint records; None without a checkpoint or a record."""
    try:
        return int(json.loads((Path(folder) / TRAIN_STATE).read_text(encoding="utf-8-sig"))["seed"]) if folder else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _dataset_defaults(given: dict[str, Any]) -> dict[str, Any]:
    """Return the data set's options that the command line gives; [general] of a dataset_config overrides them."""
    names = {*DATASET_FIELDS, *SUBSET_FIELDS} - NOT_FROM_FLAGS
    options = {name: given[name] for name in names if given.get(name) not in (None, "")}
    if "resolution" in options:
        options["resolution"] = _numbers(options["resolution"], int, "--resolution", "is not a size; write 512 or 768,512")
    if "face_crop_aug_range" in options:
        text = options["face_crop_aug_range"]
        options["face_crop_aug_range"] = _numbers(text, float, "--face_crop_aug_range", "is not a range; write 2.0,4.0")
    return options | {"batch_size": given["train_batch_size"], "num_repeats": given["dataset_repeats"]}


def _numbers(text: str, kind: type, flag: str, complaint: str) -> list[Any]:
    try:
        return [kind(part) for part in text.split(",")]
    except ValueError:
        raise TrainerError(f"{flag} {text} {complaint}.") from None


def _placement(given: dict[str, Any]) -> dict[str, Any]:
    kind = given["base_quantization"] or ("fp8" if given["fp8_base"] else None)
    return {
        "base_quantization": kind and config.Quantization(kind),
        "gradient_checkpointing": given["gradient_checkpointing"] or given["cpu_offload_checkpointing"],
    }


def _base_weights(given: dict[str, Any]) -> tuple[config.BaseWeights, ...]:
    paths, multipliers = given["base_weights"] or [], given["base_weights_multiplier"] or []
    multipliers = multipliers + [1.0] * (len(paths) - len(multipliers))
    return tuple(config.BaseWeights(path=path, multiplier=each) for path, each in zip(paths, multipliers, strict=True))


def _optimizer_type(given: dict[str, Any]) -> str:
    """Return the optimizer's name: --optimizer_type, or one of kohya's two old switches, or AdamW."""
    name: str | None = given["optimizer_type"]
    if name:
        return name
    if given["use_8bit_adam"]:
        return "AdamW8bit"
    return "Lion" if given["use_lion_optimizer"] else "AdamW"


def _rates(given: dict[str, Any]) -> dict[str, Any]:
    """Return the learning rates; --unet_lr and --text_encoder_lr override --learning_rate."""
    base = float(given["learning_rate"])
    text = tuple(float(rate) for rate in given["text_encoder_lr"] or [base])
    unet = base if given["unet_lr"] is None else float(given["unet_lr"])
    return {"learning_rate": base, "unet_lr": unet, "text_encoder_lr": text}


def _loss_defaults(given: dict[str, Any]) -> dict[str, Any]:
    return {
        "min_timestep": given["min_timestep"] or 0,
        "max_timestep": given["max_timestep"] or 1000,
        "ip_noise_gamma": given["ip_noise_gamma"] or 0.0,
    }


def _validation_seed(given: dict[str, Any]) -> int:
    seed: int = given["seed"] if given["validation_seed"] is None else given["validation_seed"]
    return seed

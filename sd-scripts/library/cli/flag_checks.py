"""Checks of the flags: contradictions, values that no training can have, and flags without effect because of another flag."""

from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

from fluxgym.contract.learning import LEAST, learns_little, learns_nothing
from fluxgym.contract.limits import MAX_GIVEN_NAME_BYTES, MAX_TIMESTEP
from library.cli.flags import AT_LEAST, AT_MOST, EITHER_SIGN, limit_text
from library.config import NetworkModule
from library.data.schema import SUBSET_FIELDS
from library.errors import TrainerError
from library.limits import MAX_LEARNING_RATE, MAX_SETTING

REQUIRED = ("pretrained_model_name_or_path", "ae", "clip_l", "t5xxl", "output_dir")
KEYED = ("network_args", "optimizer_args", "lr_scheduler_args")  # lists of key=value
ONLY = {"network_module": tuple(NetworkModule), "model_type": ("flux",), "save_model_as": ("safetensors",)}


def check_flags(args: Namespace) -> None:
    """Raise TrainerError naming the first flag that is missing, out of range, or in contradiction to another."""
    _check_required(args)
    _check_output_name(args.output_name or "last")
    _check_ranges(args)
    _check_rates(args)
    _check_timesteps(args)
    _check_loss(args)
    _check_optimizer_switches(args)
    _check_keys(args)
    _check_precision(args)
    _check_base_weights(args)
    _check_thumbnail(args.metadata_thumbnail)


def _check_required(args: Namespace) -> None:
    for name in REQUIRED:
        if not getattr(args, name):
            raise TrainerError(f"--{name} is missing.")
    if not (args.dataset_config or args.train_data_dir or args.in_json):
        raise TrainerError("There are no images to train on: give --dataset_config, --train_data_dir or --in_json.")


def _check_output_name(name: str) -> None:
    if Path(name).name != name or name == ".." or len(name.encode()) > MAX_GIVEN_NAME_BYTES:
        raise TrainerError(f"--output_name {name} is not a file name; leave folders to --output_dir and keep it short.")


def _check_ranges(args: Namespace) -> None:
    for name, low in AT_LEAST.items():
        value = getattr(args, name)
        if value is not None and value < low:
            raise TrainerError(f"--{name} {value} is too small; it must be at least {low:.15g}.")
    for name in EITHER_SIGN:
        if (getattr(args, name) or 0) < -MAX_SETTING:
            raise TrainerError(f"--{name} {getattr(args, name)} is too small; it must be at least {-MAX_SETTING:g}.")
    for name, high in AT_MOST.items():
        if (getattr(args, name) or 0) > high:
            raise TrainerError(f"--{name} {getattr(args, name)} is too large; it must be at most {limit_text(high)}.")
    for name, only in ONLY.items():
        if getattr(args, name) not in (None, *only):
            raise TrainerError(f"--{name} {getattr(args, name)} is not supported; use {' or '.join(only)}.")


def _check_rates(args: Namespace) -> None:
    for name in ("learning_rate", "unet_lr"):
        if (rate := getattr(args, name)) is not None and rate <= 0:
            raise TrainerError(f"--{name} {rate} must be above 0 and at most {MAX_LEARNING_RATE:g}.")
    for rate in args.text_encoder_lr or ():
        if not 0 <= rate <= MAX_LEARNING_RATE:
            raise TrainerError(f"--text_encoder_lr {rate} must be at least 0 and at most {MAX_LEARNING_RATE:g}.")
    for name in LEAST:
        values = getattr(args, name)
        for value in values if isinstance(values, list) else [values]:
            if why := learns_nothing(name, value):
                raise TrainerError(f"--{name} {value} {why}.")
    if args.network_train_text_encoder_only and args.text_encoder_lr and not any(args.text_encoder_lr):
        raise TrainerError(
            "--network_train_text_encoder_only with --text_encoder_lr 0 trains nothing; give a rate above 0, or leave one of them out."
        )
    if args.ema_decay is not None and not 0 < args.ema_decay < 1:
        raise TrainerError(f"--ema_decay {args.ema_decay} must be between 0 and 1, for instance 0.99.")


def _check_timesteps(args: Namespace) -> None:
    low, high = (0 if args.min_timestep is None else args.min_timestep), (MAX_TIMESTEP if args.max_timestep is None else args.max_timestep)
    if not 0 <= low < high <= MAX_TIMESTEP:
        raise TrainerError(f"--min_timestep {low} and --max_timestep {high} must satisfy 0 <= min < max <= {MAX_TIMESTEP}.")


def _check_loss(args: Namespace) -> None:
    if args.loss_type in ("huber", "smooth_l1") and args.huber_schedule == "snr":  # kohya's default
        raise TrainerError(
            f"--loss_type {args.loss_type} needs --huber_schedule constant or exponential: FLUX has no signal-to-noise schedule."
        )


def _check_optimizer_switches(args: Namespace) -> None:
    for switch, meant in (("use_8bit_adam", "adamw8bit"), ("use_lion_optimizer", "lion")):
        if getattr(args, switch) and args.optimizer_type.lower() not in ("", meant):
            raise TrainerError(f"--{switch} contradicts --optimizer_type {args.optimizer_type}; give one of them.")
    if args.use_8bit_adam and args.use_lion_optimizer:
        raise TrainerError("--use_8bit_adam contradicts --use_lion_optimizer; give one of them.")


def _check_keys(args: Namespace) -> None:
    """Raise TrainerError for a key of a `key=value` flag that is given twice, since one of its values would be lost."""
    for name in KEYED:
        found: dict[str, str] = {}
        for key, _, value in (pair.partition("=") for pair in getattr(args, name) or ()):
            if found.setdefault(key, value) != value:
                raise TrainerError(f"--{name} has {key} twice, {key}={found[key]} and {key}={value}; keep one of them.")


def _check_precision(args: Namespace) -> None:
    if args.mixed_precision == "fp16":
        raise TrainerError("--mixed_precision fp16 is not supported: FLUX overflows in float16; use bf16.")
    if args.fp8_matmul and (args.base_quantization or ("fp8" if args.fp8_base or args.fp8_base_unet else None)) != "fp8":
        raise TrainerError("--fp8_matmul needs --fp8_base, and no other --base_quantization.")
    if args.full_bf16 and args.mixed_precision != "bf16":
        raise TrainerError(f"--full_bf16 needs --mixed_precision bf16, not {args.mixed_precision}.")


def _check_base_weights(args: Namespace) -> None:
    num_files, num_multipliers = len(args.base_weights or ()), len(args.base_weights_multiplier or ())
    if num_multipliers > num_files:
        raise TrainerError(f"--base_weights_multiplier has {num_multipliers} values for {num_files} files of --base_weights.")
    for multiplier in args.base_weights_multiplier or ():
        if abs(multiplier) > MAX_SETTING:
            raise TrainerError(f"--base_weights_multiplier {multiplier} must be between {-MAX_SETTING:g} and {MAX_SETTING:g}.")


def _check_thumbnail(image: str | None) -> None:
    if image and not image.startswith("data:") and not Path(image).is_file():
        raise TrainerError(f"--metadata_thumbnail {image} is missing.")


def flags_that_teach_little(args: Namespace) -> Iterator[str]:
    """Yield a warning for each flag with which the training is likely to learn nothing or to diverge; those of captions are warnings of each data set."""
    values = {name: value for name, value in vars(args).items() if name not in SUBSET_FIELDS}
    for name, value, why in learns_little(values):
        yield f"--{name} {value} {why}"


def flags_without_effect(args: Namespace) -> Iterator[tuple[str, str]]:
    """Yield each given flag that has no effect because of another flag or its absence, with the reason."""
    for name in ("train_data_dir", "reg_data_dir", "in_json"):
        if args.dataset_config and getattr(args, name):
            yield f"--{name}", "--dataset_config says where the images are"
    if args.base_quantization not in (None, "fp8") and (args.fp8_base or args.fp8_base_unet):
        yield "--fp8_base", f"--base_quantization {args.base_quantization} says how the base is stored"
    uses_weights = args.timestep_sampling == "sigma" or args.model_prediction_type == "sigma_scaled"
    if args.weighting_scheme not in ("none", "uniform") and not uses_weights:
        yield "--weighting_scheme", "it belongs to --timestep_sampling sigma and --model_prediction_type sigma_scaled"
    for name, has_no_effect, reason in _overridden(args):
        if getattr(args, name) and has_no_effect:
            yield f"--{name}", reason


def _overridden(args: Namespace) -> tuple[tuple[str, object, str], ...]:
    """Return (flag, true if it has no effect, reason) for the flags that other flags override."""
    draws = args.sample_at_first or args.sample_every_n_steps or args.sample_every_n_epochs
    starts_later = args.initial_step is not None or args.initial_epoch is not None
    is_constant = args.lr_scheduler.startswith("constant") and not args.lr_scheduler_type
    no_base = all(multiplier == 0 for multiplier in args.base_weights_multiplier or (1,))
    return (
        ("base_weights", no_base, "--base_weights_multiplier is 0"),
        ("text_encoder_lr", args.network_train_unet_only, "--network_train_unet_only trains no text encoder"),
        ("network_weights", args.resume, "--resume brings the network's weights"),
        ("sample_prompts", not draws, "no --sample_every_n_steps, --sample_every_n_epochs or --sample_at_first says when to draw"),
        ("sample_every_n_steps", not args.sample_prompts, "there are no --sample_prompts"),
        ("sample_every_n_epochs", not args.sample_prompts, "there are no --sample_prompts"),
        ("skip_until_initial_step", not starts_later, "it belongs to --initial_step or --initial_epoch"),
        ("lr_scheduler_args", is_constant, f"--lr_scheduler {args.lr_scheduler} takes none"),
    )

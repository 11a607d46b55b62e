"""The command line: kohya's flags with their names, types and defaults, of which none is silently ignored.

Owns parsing and what can be said of the flags without reading another file. Run as a program it prints the flags as data, which is how
fluxgym/config/flags.json is made: `python sd-scripts/library/cli/parse.py > fluxgym/config/flags.json`.
"""

import argparse
import json
import random
import sys
from difflib import get_close_matches
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from library.cli.config_file import words_of, write_settings
from library.cli.flag_support import HONORED, IGNORED, NOTES, REFUSED
from library.cli.flags import ADDITIONS
from library.command import Parser, number
from library.errors import TrainerError, warn

TABLE = Path(__file__).with_name("kohya_flags.json")
REQUIRED = ("pretrained_model_name_or_path", "ae", "clip_l", "t5xxl", "output_dir")
AT_LEAST = {
    "train_batch_size": 1, "gradient_accumulation_steps": 1, "max_train_steps": 1, "max_train_epochs": 1, "save_every_n_epochs": 1,
    "save_every_n_steps": 1, "sample_every_n_steps": 1, "sample_every_n_epochs": 1, "network_dim": 1, "vae_batch_size": 1,
    "max_data_loader_n_workers": 0, "blocks_to_swap": 0, "max_grad_norm": 0, "keep_tokens": 0, "seed": 0, "discrete_flow_shift": 1e-6,
    "guidance_scale": 0, "t5xxl_max_token_length": 1, "lr_warmup_steps": 0, "text_encoder_batch_size": 1, "save_last_n_epochs": 1,
    "save_last_n_steps": 1, "save_last_n_epochs_state": 1, "save_last_n_steps_state": 1, "prior_loss_weight": 0,
    "bucket_reso_steps": 16, "network_alpha": 0, "logit_std": 0, "huber_c": 1e-6, "huber_scale": 1e-6, "lr_decay_steps": 0,
    "lr_scheduler_num_cycles": 1, "lr_scheduler_timescale": 1,
    "dataset_repeats": 1, "token_warmup_min": 0, "token_warmup_step": 0, "validation_split": 0, "validate_every_n_steps": 1,
    "validate_every_n_epochs": 1, "max_validation_steps": 1, "validation_seed": 0,
    "save_n_epoch_ratio": 1, "initial_epoch": 1, "initial_step": 0, "ip_noise_gamma": 0,
    "network_dropout": 0, "scale_weight_norms": 0,
}  # fmt: skip
MAX_RATE = 1e30  # Prodigy's factors are around 1; what is far beyond is no number in float32
MAX_NAME_BYTES = 200  # leaves room for what is added to a file's name
LORA, LYCORIS = "networks.lora_flux", "lycoris.kohya"
DEFAULT_RANK = 4
ONLY = {"network_module": (LORA, LYCORIS), "model_type": ("flux",), "save_model_as": ("safetensors",)}


def rows() -> list[dict[str, Any]]:
    """Return every flag with type, default, choices, nargs, minimum, and how this trainer takes it: honored, ignored or refused, and why."""
    table = json.loads(TABLE.read_text(encoding="utf-8"))
    return [_row(row, row["flag"][2:]) for row in table + ADDITIONS]


def _row(row: dict[str, Any], name: str) -> dict[str, Any]:
    minimum = {"minimum": AT_LEAST[name]} if name in AT_LEAST else {}
    return row | minimum | dict(zip(("support", "reason"), support_of(name), strict=True))


def support_of(name: str) -> tuple[str, str]:
    """Return (honored | ignored | refused, reason) of a flag."""
    if name in HONORED or any(row["flag"][2:] == name for row in ADDITIONS):
        return "honoured", NOTES.get(name, "")
    return ("ignored", IGNORED[name]) if name in IGNORED else ("refused", REFUSED[name])


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all flags."""
    parser = Parser(prog="flux_train_network.py", description="Train a LoRA for FLUX.1, by kohya's flags.", allow_abbrev=False)
    for row in rows():
        about = row.get("help") or row["support"] + (f": {row['reason']}" if row["reason"] else "")
        if row["type"] == "flag":
            parser.add_argument(row["flag"], action="store_true", help=about)
            continue
        choices = [choice for choice in row.get("choices") or () if choice is not None] or None
        parser.add_argument(row["flag"], type=_type_of(row), default=row["default"], choices=choices, nargs=row.get("nargs"), help=about)
    return parser


def _type_of(row: dict[str, Any]) -> Any:
    if row["flag"] in ("--text_encoder_lr", "--base_weights_multiplier"):
        return number
    return {"int": int, "float": number, "int_or_float": _int_or_float}.get(row["type"], str)


def _int_or_float(text: str) -> int | float:
    return int(text) if text.lstrip("-").isdigit() else number(text)


_int_or_float.__name__ = "number"  # what argparse calls them in its messages


def parse(argv: list[str]) -> argparse.Namespace:
    """Read the command line.

    Raises TrainerError naming the flag that is unknown, refused, missing, or has a value it cannot have. Flags without effect are
    accepted with a printed warning.
    """
    args = _read(argv)
    for row in rows():
        name = row["flag"][2:]
        if getattr(args, name) == row["default"]:
            continue
        if row["support"] == "refused":
            raise TrainerError(f"{row['flag']} is not supported: {row['reason']}.")
        if row["support"] == "ignored":
            warn(f"{row['flag']} has no effect: {row['reason']}")
    if args.output_config:
        return args  # nothing is trained: what is written need not be complete
    _check(args)
    return _settled(args)


def _read(argv: list[str]) -> argparse.Namespace:
    """Read the command line and, before it, the file of --config_file, so that the command line wins."""
    parser = build_parser()
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
    return parser.parse_args(words + argv)


def write_config(args: argparse.Namespace) -> Path:
    """Write the flags that are not at their defaults to the file of --config_file, which must not exist yet; returns its path."""
    defaults = {row["flag"][2:]: row["default"] for row in rows()} | {"config_file": args.config_file, "output_config": True}
    return write_settings(args.config_file, {name: value for name, value in vars(args).items() if value != defaults[name]})


def _unknown(word: str) -> str:
    if not word.startswith("--"):
        return f"“{word}” belongs to no flag; put texts with spaces into quotes."
    name = word.split("=")[0]
    flags = [row["flag"] for row in rows()]
    near = [flag for flag in flags if flag.startswith(name)] or get_close_matches(name, flags, n=1)
    return f"{name} is not a flag of this trainer." + (f" Did you mean {near[0]}?" if near else "")


def _check(args: argparse.Namespace) -> None:
    """Raise TrainerError for values that no training can have."""
    for name in REQUIRED:
        if not getattr(args, name):
            raise TrainerError(f"--{name} is missing.")
    if not (args.dataset_config or args.train_data_dir or args.in_json):
        raise TrainerError("there are no images to train on: give --dataset_config, --train_data_dir or --in_json.")
    name = args.output_name or "last"
    if Path(name).name != name or name == ".." or len(name.encode()) > MAX_NAME_BYTES:
        raise TrainerError(f"--output_name {args.output_name} is no file name; leave folders to --output_dir and keep it short.")
    for name, low in AT_LEAST.items():
        value = getattr(args, name)
        if value is not None and value < low:
            raise TrainerError(f"--{name} {value} is too small; it must be at least {low}.")
    for name, only in ONLY.items():
        if getattr(args, name) not in (None, *only):
            raise TrainerError(f"--{name} {getattr(args, name)} is not supported; use {' or '.join(only)}.")
    for name in ("learning_rate", "unet_lr"):
        if (rate := getattr(args, name)) is not None and not 0 < rate <= MAX_RATE:
            raise TrainerError(f"--{name} {rate} must be above 0 and at most {MAX_RATE}.")
    if any(rate < 0 for rate in args.text_encoder_lr or []):
        raise TrainerError(f"--text_encoder_lr {min(args.text_encoder_lr)} must not be below 0.")
    low, high = (0 if args.min_timestep is None else args.min_timestep), (1000 if args.max_timestep is None else args.max_timestep)
    if not 0 <= low < high <= 1000:
        raise TrainerError(f"--min_timestep {low} and --max_timestep {high} must satisfy 0 <= min < max <= 1000.")
    for switch, meant in (("use_8bit_adam", "adamw8bit"), ("use_lion_optimizer", "lion")):
        if getattr(args, switch) and args.optimizer_type.lower() not in ("", meant):
            raise TrainerError(f"--{switch} contradicts --optimizer_type {args.optimizer_type}; give one of them.")
    _check_training(args)


def _check_training(args: argparse.Namespace) -> None:
    """Raise TrainerError for flags of the loop that contradict each other."""
    if args.fp8_matmul and (args.base_quantization or ("fp8" if args.fp8_base or args.fp8_base_unet else None)) != "fp8":
        raise TrainerError("--fp8_matmul needs --fp8_base, and no other --base_quantization.")
    if args.use_8bit_adam and args.use_lion_optimizer:
        raise TrainerError("--use_8bit_adam contradicts --use_lion_optimizer; give one of them.")
    if args.full_bf16 and args.mixed_precision != "bf16":
        raise TrainerError(f"--full_bf16 needs --mixed_precision bf16, not {args.mixed_precision}.")
    if args.ema_decay is not None and not 0 < args.ema_decay < 1:
        raise TrainerError(f"--ema_decay {args.ema_decay} must lie between 0 and 1, for instance 0.99.")
    image = args.metadata_thumbnail
    if image and not image.startswith("data:") and not Path(image).is_file():
        raise TrainerError(f"--metadata_thumbnail {image} is missing.")


def _settled(args: argparse.Namespace) -> argparse.Namespace:
    """Fill in what one flag says about another."""
    args.cache_latents |= args.cache_latents_to_disk
    args.cache_text_encoder_outputs |= args.cache_text_encoder_outputs_to_disk
    args.fp8_base |= args.fp8_base_unet
    args.caption_extension = args.caption_extention or args.caption_extension  # kohya's old spelling
    args.network_module = args.network_module or LORA
    args.network_dim = args.network_dim or DEFAULT_RANK
    args.network_alpha = args.network_alpha or args.network_dim  # 0 means the rank, a scale of 1
    for name in ("train_data_dir", "reg_data_dir", "in_json"):
        if args.dataset_config and getattr(args, name):
            _warn_no_effect(f"--{name}", "--dataset_config says where the images are")
    if args.base_quantization not in (None, "fp8") and args.fp8_base:
        args.fp8_base = False
        _warn_no_effect("--fp8_base", f"--base_quantization {args.base_quantization} says how the base is stored")
    if (
        args.weighting_scheme not in ("none", "uniform")
        and args.timestep_sampling != "sigma"
        and args.model_prediction_type != "sigma_scaled"
    ):
        _warn_no_effect("--weighting_scheme", "it belongs to --timestep_sampling sigma and --model_prediction_type sigma_scaled")
    for flag, why in _without_effect(args):
        _warn_no_effect(flag, why)
    args.output_name = args.output_name or "last"
    if args.seed is None:
        args.seed = _seed_of_checkpoint(args.resume)
    if args.seed is None:
        args.seed = random.SystemRandom().randrange(2**32)
        print(f"--seed was not given; {args.seed} was drawn", flush=True)
    return args


def _without_effect(args: argparse.Namespace) -> list[tuple[str, str]]:
    """Return the flags that were given and that another flag, or its absence, takes the effect from; each with the reason."""
    draws = args.sample_at_first or args.sample_every_n_steps or args.sample_every_n_epochs
    found = [
        ("text_encoder_lr", args.network_train_unet_only, "--network_train_unet_only trains no text encoder"),
        ("network_weights", args.resume, "--resume brings the network's weights"),
        ("sample_prompts", not draws, "no --sample_every_n_steps, --sample_every_n_epochs or --sample_at_first says when to draw"),
        ("sample_every_n_steps", not args.sample_prompts, "there are no --sample_prompts"),
        ("sample_every_n_epochs", not args.sample_prompts, "there are no --sample_prompts"),
        (
            "skip_until_initial_step",
            args.initial_step is None and args.initial_epoch is None,
            "it belongs to --initial_step or --initial_epoch",
        ),
        (
            "lr_scheduler_args",
            args.lr_scheduler.startswith("constant") and not args.lr_scheduler_type,
            f"--lr_scheduler {args.lr_scheduler} takes none",
        ),
    ]
    return [(f"--{name}", why) for name, is_so, why in found if getattr(args, name) and is_so]


def _warn_no_effect(flag: str, why: str) -> None:
    warn(f"{flag} has no effect: {why}")


def _seed_of_checkpoint(folder: str | None) -> int | None:
    """Return the seed that a checkpoint was made with, if one is resumed that tells it."""
    try:
        return int(json.loads((Path(folder) / "train_state.json").read_text())["seed"]) if folder else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


if __name__ == "__main__":
    print(json.dumps(rows(), indent=1))

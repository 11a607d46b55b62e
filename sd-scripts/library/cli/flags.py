"""All flags of the trainer: kohya's 215, and those beyond; how each is supported, and the parser made from them.

Run as a program it prints them as JSON, from which fluxgym/config/flags.json is made:
`python sd-scripts/library/cli/flags.py > fluxgym/config/flags.json`.
"""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    import library  # noqa: F401, makes fluxgym.contract importable

from fluxgym.contract.limits import MAX_BATCH, MAX_EPOCHS, MAX_SEED, MAX_SIDE, MAX_STEPS, MAX_SWAPPED, MAX_TIMESTEP, MAX_TOKENS
from library.cli.flag_support import HONORED, IGNORED, NOTES, REFUSED
from library.command_parser import Parser
from library.limits import MAX_LEARNING_RATE, MAX_RATE_RATIO, MAX_SCALE, MAX_SETTING
from library.number_parsing import number

TABLE = Path(__file__).with_name("kohya_flags.json")
EITHER_SIGN = ("logit_mean", "mode_scale", "sigmoid_scale", "lr_scheduler_power")
EPOCHS = (
    "max_train_epochs", "save_every_n_epochs", "save_n_epoch_ratio", "sample_every_n_epochs", "validate_every_n_epochs", "initial_epoch",
    "caption_dropout_every_n_epochs", "dataset_repeats", "save_last_n_epochs", "save_last_n_epochs_state",
)  # fmt: skip
STEPS = (
    "max_train_steps", "save_every_n_steps", "sample_every_n_steps", "validate_every_n_steps", "max_validation_steps", "initial_step",
    "lr_warmup_steps", "lr_decay_steps", "lr_scheduler_num_cycles", "lr_scheduler_timescale", "token_warmup_step",
    "gradient_accumulation_steps", "save_last_n_steps", "save_last_n_steps_state",
)  # fmt: skip
AT_LEAST = {
    "train_batch_size": 1, "gradient_accumulation_steps": 1, "max_train_steps": 1, "max_train_epochs": 1, "save_every_n_epochs": 1,
    "save_every_n_steps": 1, "sample_every_n_steps": 1, "sample_every_n_epochs": 1, "network_dim": 1, "vae_batch_size": 1,
    "max_data_loader_n_workers": 0, "blocks_to_swap": 0, "max_grad_norm": 0, "keep_tokens": 0, "seed": 0, "discrete_flow_shift": 1e-6,
    "guidance_scale": 0, "t5xxl_max_token_length": 1, "lr_warmup_steps": 0, "text_encoder_batch_size": 1, "save_last_n_epochs": 1,
    "save_last_n_steps": 1, "save_last_n_epochs_state": 1, "save_last_n_steps_state": 1, "prior_loss_weight": 0,
    "bucket_reso_steps": 16, "network_alpha": 0, "logit_std": 0, "huber_c": 1e-6, "huber_scale": 1e-6, "lr_decay_steps": 0,
    "lr_scheduler_num_cycles": 1, "lr_scheduler_timescale": 1, "lr_scheduler_min_lr_ratio": 0,
    "dataset_repeats": 1, "token_warmup_min": 0, "token_warmup_step": 0, "validation_split": 0, "validate_every_n_steps": 1,
    "validate_every_n_epochs": 1, "max_validation_steps": 1, "validation_seed": 0,
    "save_n_epoch_ratio": 1, "initial_epoch": 1, "initial_step": 0, "ip_noise_gamma": 0,
    "network_dropout": 0, "scale_weight_norms": 0, "caption_dropout_every_n_epochs": 0, "min_bucket_reso": 0, "max_bucket_reso": 0,
    "min_timestep": 0, "max_timestep": 0, "clip_skip": 0, "ddp_timeout": 0, "multires_noise_iterations": 0,
}  # fmt: skip
AT_MOST = {
    "guidance_scale": MAX_SCALE, "learning_rate": MAX_LEARNING_RATE, "unet_lr": MAX_LEARNING_RATE, "scale_weight_norms": MAX_SCALE,
    "network_alpha": MAX_SETTING, "lr_scheduler_min_lr_ratio": MAX_RATE_RATIO, "max_grad_norm": MAX_SCALE, "blocks_to_swap": MAX_SWAPPED,
    "max_data_loader_n_workers": 1024,
    **dict.fromkeys(("min_timestep", "max_timestep"), MAX_TIMESTEP),
    **dict.fromkeys(("clip_skip", "ddp_timeout", "multires_noise_iterations"), MAX_STEPS),  # read, and without effect
    **dict.fromkeys(("keep_tokens", "token_warmup_min", "t5xxl_max_token_length"), MAX_TOKENS),
    **dict.fromkeys(("train_batch_size", "vae_batch_size", "text_encoder_batch_size"), MAX_BATCH),
    **dict.fromkeys(("seed", "validation_seed"), MAX_SEED),
    **dict.fromkeys(("min_bucket_reso", "max_bucket_reso", "bucket_reso_steps"), MAX_SIDE),
    **dict.fromkeys(EPOCHS, MAX_EPOCHS),
    **dict.fromkeys(STEPS, MAX_STEPS),
    **dict.fromkeys((*EITHER_SIGN, "huber_c", "huber_scale", "discrete_flow_shift", "logit_std", "ip_noise_gamma", "prior_loss_weight"), MAX_SETTING),
}  # fmt: skip

FLAGS_WITH_NUMBERS = ("text_encoder_lr", "base_weights_multiplier")  # kohya's table gives them another type


def limit_text(limit: float) -> str:
    """Return a limit as an error message writes it: a count with all its digits."""
    return str(limit) if isinstance(limit, int) else f"{limit:g}"


class Support(StrEnum):
    """What this trainer does with a flag."""

    HONORED = "honored"
    IGNORED = "ignored"
    REFUSED = "refused"


@dataclass(frozen=True, kw_only=True)
class Flag:
    """One flag: its name without dashes, the values that it takes, and what this trainer does with it, and why.

    `type` is str, int, float, int_or_float, Path, or flag for a switch. `help` is set for flags that kohya's trainer does not have.
    """

    name: str
    type: str
    default: Any = None
    choices: tuple[Any, ...] | None = None
    nargs: str | None = None
    help: str | None = None
    minimum: float | None = None
    maximum: float | None = None
    support: Support = Support.HONORED
    reason: str = ""

    @property
    def option(self) -> str:
        """The flag as it is typed: `--name`."""
        return f"--{self.name}"

    @property
    def is_switch(self) -> bool:
        """Return True if the flag takes no value."""
        return self.type == "flag"

    def to_json(self) -> dict[str, Any]:
        """Return the flag as an object of fluxgym/config/flags.json; attributes that are not set are left out."""
        choices = None if self.choices is None else list(self.choices)
        values = {"choices": choices, "nargs": self.nargs, "help": self.help, "minimum": self.minimum, "maximum": self.maximum}
        given = {name: value for name, value in values.items() if value is not None}
        return {
            "flag": self.option,
            "type": self.type,
            "default": self.default,
            **given,
            "support": str(self.support),
            "reason": self.reason,
        }


ADDITIONS = (
    Flag(
        name="ema_decay",
        type="float",
        help="save and sample a running average of the LoRA's weights instead of the current ones; 0.99 to 0.9999, the share kept each step",
    ),
    Flag(
        name="deterministic",
        type="flag",
        default=False,
        help="use only GPU kernels that give the same bits each time, so that a resumed training is exact on a GPU too; slower",
    ),
    Flag(
        name="base_quantization",
        type="str",
        choices=("fp8", "int8", "nf4"),
        help="store the frozen blocks in 8 bits (fp8 is --fp8_base, int8) or in bitsandbytes' 4 bits (nf4)",
    ),
    Flag(
        name="fp8_matmul",
        type="flag",
        default=False,
        help="with --fp8_base, multiply in float8 where the GPU can: faster, and rounds activations too",
    ),
    Flag(
        name="save_keys",
        type="str",
        default="kohya",
        choices=("kohya", "diffusers"),
        help="under which names the LoRA is saved: kohya's, for ComfyUI and Forge, or those of diffusers and PEFT",
    ),
)  # the flags beyond kohya's


@cache
def all_flags() -> dict[str, Flag]:
    """Return every flag by name: kohya's and those beyond."""
    kohyas = (_kohya_flag(row) for row in json.loads(TABLE.read_text(encoding="utf-8-sig")))
    return {flag.name: flag for flag in (*kohyas, *ADDITIONS)}


def _kohya_flag(row: dict[str, Any]) -> Flag:
    name = row["flag"].removeprefix("--")
    support, reason = support_of(name)
    return Flag(
        name=name,
        type=row["type"],
        default=row["default"],
        choices=tuple(row["choices"]) if "choices" in row else None,
        nargs=row.get("nargs"),
        minimum=AT_LEAST.get(name),
        maximum=AT_MOST.get(name),
        support=support,
        reason=reason,
    )


def support_of(name: str) -> tuple[Support, str]:
    """Return what this trainer does with one of kohya's flags, and why."""
    if name in HONORED:
        return Support.HONORED, NOTES.get(name, "")
    return (Support.IGNORED, IGNORED[name]) if name in IGNORED else (Support.REFUSED, REFUSED[name])


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all flags."""
    parser = Parser(prog="flux_train_network.py", description="Train a LoRA for FLUX.1, by kohya's flags.", allow_abbrev=False)
    for flag in all_flags().values():
        about = flag.help or flag.support + (f": {flag.reason}" if flag.reason else "")
        if flag.is_switch:
            parser.add_argument(flag.option, action="store_true", help=about)
            continue
        choices = [choice for choice in flag.choices or () if choice is not None] or None
        # a flag of several values that is given twice has the values of both
        several: dict[str, Any] = {"nargs": flag.nargs, "action": "extend"} if flag.nargs else {}
        parser.add_argument(flag.option, type=_parser_of(flag), default=flag.default, choices=choices, help=about, **several)
    return parser


def _parser_of(flag: Flag) -> Callable[[str], Any]:
    if flag.name in FLAGS_WITH_NUMBERS:
        return number
    parsers: dict[str, Callable[[str], Any]] = {"int": int, "float": number, "int_or_float": _int_or_float}
    return parsers.get(flag.type, str)


def _int_or_float(text: str) -> int | float:
    return int(text) if text.lstrip("-").isdigit() else number(text)


_int_or_float.__name__ = "number"  # argparse shows this name in its messages


if __name__ == "__main__":
    print(json.dumps([flag.to_json() for flag in all_flags().values()], indent=1))

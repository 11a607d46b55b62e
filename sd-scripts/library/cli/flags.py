"""All flags of the trainer as rows: kohya's 215, and those beyond; how each is supported, and the parser made from them.

Run as a program it prints the rows as JSON, from which fluxgym/config/flags.json is made:
`python sd-scripts/library/cli/flags.py > fluxgym/config/flags.json`.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    import library  # noqa: F401, makes fluxgym.contract importable

from fluxgym.contract.limits import MAX_BATCH, MAX_EPOCHS, MAX_SEED, MAX_SIDE, MAX_STEPS, MAX_SWAPPED, MAX_TOKENS
from library.cli.flag_support import HONORED, IGNORED, NOTES, REFUSED
from library.command import MAX_RATE, MAX_RATIO, Parser, number

TABLE = Path(__file__).with_name("kohya_flags.json")
MAX_SETTING = 1e6  # far beyond any that is useful; from about 1e38 on, float32 overflows and the loss is not a number
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
    "network_dropout": 0, "scale_weight_norms": 0,
}  # fmt: skip
AT_MOST = {
    "guidance_scale": MAX_RATE, "learning_rate": MAX_RATE, "unet_lr": MAX_RATE, "scale_weight_norms": MAX_RATE, "network_alpha": MAX_SETTING,
    "lr_scheduler_min_lr_ratio": MAX_RATIO, "max_grad_norm": MAX_RATE,
    "blocks_to_swap": MAX_SWAPPED,
    "max_data_loader_n_workers": 1024,
    **dict.fromkeys(("keep_tokens", "token_warmup_min", "t5xxl_max_token_length"), MAX_TOKENS),
    **dict.fromkeys(("train_batch_size", "vae_batch_size", "text_encoder_batch_size"), MAX_BATCH),
    **dict.fromkeys(("seed", "validation_seed"), MAX_SEED),
    **dict.fromkeys(("min_bucket_reso", "max_bucket_reso", "bucket_reso_steps"), MAX_SIDE),
    **dict.fromkeys(EPOCHS, MAX_EPOCHS),
    **dict.fromkeys(STEPS, MAX_STEPS),
    **dict.fromkeys((*EITHER_SIGN, "huber_c", "huber_scale", "discrete_flow_shift", "logit_std", "ip_noise_gamma", "prior_loss_weight"), MAX_SETTING),
}  # fmt: skip


def limit_text(limit: float) -> str:
    """Return a limit as an error message writes it: a count with all its digits."""
    return str(limit) if isinstance(limit, int) else f"{limit:g}"


ADDITIONS: list[dict[str, Any]] = [
    {
        "flag": "--ema_decay",
        "type": "float",
        "default": None,
        "help": "save and sample a running average of the LoRA's weights instead of the current ones; 0.99 to 0.9999, the share kept each step",
    },
    {
        "flag": "--deterministic",
        "type": "flag",
        "default": False,
        "help": "use only GPU kernels that give the same bits each time, so that a resumed training is exact on a GPU too; slower",
    },
    {
        "flag": "--base_quantization",
        "type": "str",
        "default": None,
        "choices": ["fp8", "int8", "nf4"],
        "help": "store the frozen blocks in 8 bits (fp8 is --fp8_base, int8) or in bitsandbytes' 4 bits (nf4)",
    },
    {
        "flag": "--fp8_matmul",
        "type": "flag",
        "default": False,
        "help": "with --fp8_base, multiply in float8 where the GPU can: faster, and rounds activations too",
    },
    {
        "flag": "--save_keys",
        "type": "str",
        "default": "kohya",
        "choices": ["kohya", "diffusers"],
        "help": "under which names the LoRA is saved: kohya's, for ComfyUI and Forge, or those of diffusers and PEFT",
    },
]


def rows() -> list[dict[str, Any]]:
    """Return every flag with type, default, choices, nargs, minimum, maximum, and how this trainer takes it: honored, ignored or refused, and why."""
    table = json.loads(TABLE.read_text(encoding="utf-8-sig"))
    return [_row(row, row["flag"][2:]) for row in table + ADDITIONS]


def _row(row: dict[str, Any], name: str) -> dict[str, Any]:
    limits = {key: table[name] for key, table in (("minimum", AT_LEAST), ("maximum", AT_MOST)) if name in table}
    return row | limits | dict(zip(("support", "reason"), support_of(name), strict=True))


def support_of(name: str) -> tuple[str, str]:
    """Return (honored | ignored | refused, reason) of a flag."""
    if name in HONORED or any(row["flag"][2:] == name for row in ADDITIONS):
        return "honored", NOTES.get(name, "")
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
        nargs = row.get("nargs")
        several = (
            {"nargs": nargs, "action": "extend"} if nargs else {}
        )  # a flag of several values that is given twice has the values of both
        parser.add_argument(row["flag"], type=_type_of(row), default=row["default"], choices=choices, help=about, **several)
    return parser


def _type_of(row: dict[str, Any]) -> Any:
    if row["flag"] in ("--text_encoder_lr", "--base_weights_multiplier"):
        return number
    return {"int": int, "float": number, "int_or_float": _int_or_float}.get(row["type"], str)


def _int_or_float(text: str) -> int | float:
    return int(text) if text.lstrip("-").isdigit() else number(text)


_int_or_float.__name__ = "number"  # what argparse calls them in its messages


if __name__ == "__main__":
    print(json.dumps(rows(), indent=1))

"""What a saved LoRA says of itself: kohya's ss_* keys and the modelspec of Stability AI, with the true resolution.

Owns names and formats; the figures come from the training. Nothing secret and no folder of the user's machine beyond its last name.
"""

import base64
import hashlib
import json
import mimetypes
from argparse import Namespace
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from library.errors import TrainerError
from library.optim.optimizers import optimizer_name
from library.weights.model_files import fingerprint

FROM_FLAGS = (
    "output_name", "learning_rate", "unet_lr", "text_encoder_lr", "gradient_checkpointing", "gradient_accumulation_steps", "lr_warmup_steps",
    "lr_scheduler", "network_module", "network_dim", "network_alpha", "mixed_precision", "seed", "max_grad_norm", "training_comment",
    "cache_latents", "fp8_base", "loss_type", "huber_schedule", "huber_scale", "huber_c", "apply_t5_attn_mask", "weighting_scheme", "logit_mean",
    "logit_std", "mode_scale", "guidance_scale", "timestep_sampling", "sigmoid_scale", "model_prediction_type", "discrete_flow_shift",
    "caption_dropout_rate", "prior_loss_weight", "min_snr_gamma", "full_fp16", "full_bf16", "ip_noise_gamma", "ip_noise_gamma_random_strength",
    "ema_decay", "base_quantization", "network_dropout", "scale_weight_norms",
)  # fmt: skip
MINIMUM = ("ss_v2", "ss_base_model_version", "ss_network_module", "ss_network_dim", "ss_network_alpha", "ss_network_args")


def fixed_metadata(args: Namespace, *, is_dev: bool, figures: Mapping[str, Any]) -> dict[str, str]:
    """Return what stays the same over a training's saves; `figures` are its counts and data sets, without the `ss_`.

    Floats and lists are written as JSON, missing values as "None", as kohya does.
    """
    values: dict[str, Any] = {name: getattr(args, name) for name in FROM_FLAGS}
    values |= {
        "v2": False,
        "base_model_version": "flux1",
        "model_type": "dev" if is_dev else "schnell",
        "network_args": _network_args(args),
        "optimizer": _optimizer_text(args),
        "sd_model_name": Path(args.pretrained_model_name_or_path).name,
        "new_sd_model_hash": fingerprint(args.pretrained_model_name_or_path),
        "vae_name": Path(args.ae).name,
        "new_vae_hash": fingerprint(args.ae),
    } | dict(figures)
    return {f"ss_{name}": _text(value) for name, value in values.items()} | _modelspec(args, is_dev, figures)


def metadata_at(fixed: Mapping[str, str], args: Namespace, weights: Mapping[str, Tensor], *, epoch: int, step: int) -> dict[str, str]:
    """Complete the metadata for one save, hashes of the tensors included; --no_metadata keeps only the minimum."""
    if args.no_metadata:
        return {name: fixed[name] for name in MINIMUM}
    now = datetime.now(UTC)
    changing = {
        "ss_epoch": str(epoch),
        "ss_steps": str(step),
        "ss_training_finished_at": str(now.timestamp()),
        "modelspec.date": now.isoformat("T", "seconds"),
    }
    return {**fixed, **changing, **tensor_hashes(weights)}


def tensor_hashes(weights: Mapping[str, Tensor]) -> dict[str, str]:
    """Return sshs_model_hash and sshs_legacy_hash, by which programs know a LoRA whatever its notes say."""
    tensors = hashlib.sha256(save(dict(weights))[8:]).hexdigest()
    return {"sshs_model_hash": tensors, "sshs_legacy_hash": tensors[:8]}


def _modelspec(args: Namespace, is_dev: bool, figures: Mapping[str, Any]) -> dict[str, str]:
    spec = {
        "sai_model_spec": "1.0.1",
        "architecture": f"flux-1-{'dev' if is_dev else 'schnell'}/lora",
        "implementation": "https://github.com/black-forest-labs/flux",
        "title": args.metadata_title or args.output_name,
        "resolution": "x".join(str(side) for side in figures["resolution"]),
        "author": args.metadata_author,
        "description": args.metadata_description,
        "license": args.metadata_license,
        "tags": args.metadata_tags,
        "usage_hint": args.metadata_usage_hint,
        "trigger_phrase": args.metadata_trigger_phrase,
        "merged_from": args.metadata_merged_from,
        "thumbnail": thumbnail(args.metadata_thumbnail),
        "preprocessor": args.metadata_preprocessor,
        "is_negative_embedding": args.metadata_is_negative_embedding,
    }
    return {f"modelspec.{name}": value for name, value in spec.items() if value}


def thumbnail(given: str | None) -> str | None:
    """Return an image as the data URL that the metadata hold; raises TrainerError when the file cannot be read."""
    if not given or given.startswith("data:"):
        return given
    try:
        data = Path(given).read_bytes()
    except OSError as error:
        raise TrainerError(f"--metadata_thumbnail {given} cannot be read: {error.strerror}.") from None
    kind = mimetypes.guess_type(given)[0] or "image/png"
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _network_args(args: Namespace) -> dict[str, Any]:
    """Return --network_args with --network_dropout among them, as kohya tells them; nothing when there are none."""
    given = dict(pair.split("=", 1) for pair in args.network_args or [])
    return {**given, "dropout": given.get("dropout", args.network_dropout)} if given else {}


def _optimizer_text(args: Namespace) -> str:
    options = ",".join(args.optimizer_args or [])
    return optimizer_name(args) + (f"({options})" if options else "")


def _text(value: Any) -> str:
    return json.dumps(value) if isinstance(value, (dict, list, tuple)) else str(value)

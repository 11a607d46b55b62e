"""Metadata of a saved LoRA: kohya's ss_* keys and Stability AI's modelspec.

Contains no secrets, and only the file name of each path.
"""

import base64
import json
import mimetypes
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from torch import Tensor

from library.config import TrainerConfig
from library.errors import TrainerError
from library.models.family import ModelSpec
from library.weights.model_files import fingerprint
from networks.lora_file import tensor_hashes

FROM_FLAGS = (
    "output_name", "learning_rate", "unet_lr", "text_encoder_lr", "gradient_checkpointing", "gradient_accumulation_steps", "lr_warmup_steps",
    "lr_scheduler", "network_module", "network_dim", "network_alpha", "mixed_precision", "seed", "max_grad_norm", "training_comment",
    "cache_latents", "fp8_base", "loss_type", "huber_schedule", "huber_scale", "huber_c", "apply_t5_attn_mask", "weighting_scheme", "logit_mean",
    "logit_std", "mode_scale", "guidance_scale", "timestep_sampling", "sigmoid_scale", "model_prediction_type", "discrete_flow_shift",
    "caption_dropout_rate", "prior_loss_weight", "min_snr_gamma", "full_fp16", "full_bf16", "ip_noise_gamma", "ip_noise_gamma_random_strength",
    "ema_decay", "base_quantization", "network_dropout", "scale_weight_norms",
)  # fmt: skip
MINIMUM = ("ss_v2", "ss_base_model_version", "ss_network_module", "ss_network_dim", "ss_network_alpha", "ss_network_args")


def fixed_metadata(config: TrainerConfig, model: ModelSpec, figures: Mapping[str, Any]) -> dict[str, str]:
    """Return the metadata that all saves of a training of a model share; `figures` are its counts and datasets by name without `ss_`.

    Tables and lists are written as JSON, missing values as "None", as kohya does.
    """
    values: dict[str, Any] = {name: config.flag_values[name] for name in FROM_FLAGS}
    transformer, vae = config.model.pretrained_model_name_or_path, config.model.ae
    values |= {
        "v2": False,
        "base_model_version": model.base_model_version,
        "model_type": model.model_type,
        "network_args": _network_args(config),
        "optimizer": _optimizer_text(config),
        "sd_model_name": Path(transformer).name,
        "new_sd_model_hash": fingerprint(transformer),
        "vae_name": Path(vae).name,
        "new_vae_hash": fingerprint(vae),
    } | dict(figures)
    return {f"ss_{name}": _text(value) for name, value in values.items()} | _modelspec(config, model, figures)


def metadata_at(fixed: Mapping[str, str], weights: Mapping[str, Tensor], *, epoch: int, step: int, minimal: bool) -> dict[str, str]:
    """Return the metadata of one save, with hashes of its tensors; `minimal` returns only the keys that loading needs (--no_metadata)."""
    if minimal:
        return {name: fixed[name] for name in MINIMUM}
    now = datetime.now(UTC)
    changing = {
        "ss_epoch": str(epoch),
        "ss_steps": str(step),
        "ss_training_finished_at": str(now.timestamp()),
        "modelspec.date": now.isoformat("T", "seconds"),
    }
    return {**fixed, **changing, **tensor_hashes(weights)}


def _modelspec(config: TrainerConfig, model: ModelSpec, figures: Mapping[str, Any]) -> dict[str, str]:
    spec: dict[str, str | None] = {
        "sai_model_spec": "1.0.1",
        "architecture": model.lora_architecture,
        "implementation": model.implementation,
        "title": config.save.output_name,
        "resolution": "x".join(str(side) for side in figures["resolution"]),
    }
    texts = {name: text for name, text in config.save.modelspec.items() if text}
    spec |= texts | {"thumbnail": thumbnail(texts.get("thumbnail"))}
    return {f"modelspec.{name}": value for name, value in spec.items() if value}


def thumbnail(given: str | None) -> str | None:
    """Return an image file as a data URL.

    Raises:
        TrainerError: If it cannot be read.
    """
    if not given or given.startswith("data:"):
        return given
    try:
        data = Path(given).read_bytes()
    except OSError as error:
        raise TrainerError(f"--metadata_thumbnail {given} cannot be read: {error.strerror}.") from None
    kind = mimetypes.guess_type(given)[0] or "image/png"
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _network_args(config: TrainerConfig) -> dict[str, Any]:
    """Return --network_args with the dropout added, as kohya writes them; empty without --network_args."""
    options = dict(pair.split("=", 1) for pair in config.flag_values["network_args"] or ())
    return {**options, "dropout": options.get("dropout", config.flag_values["network_dropout"])} if options else {}


def _optimizer_text(config: TrainerConfig) -> str:
    options = ",".join(config.optim.optimizer_args.texts)
    return config.optim.optimizer_type + (f"({options})" if options else "")


def _text(value: object) -> str:
    return json.dumps(value) if isinstance(value, (dict, list, tuple)) else str(value)

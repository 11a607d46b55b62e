"""Warnings about settings with which a training is likely to learn nothing."""

from typing import Any

from fluxgym.config.settings import SETTINGS, TrainConfig
from fluxgym.config.trainer_flags import all_flags
from fluxgym.config.values import to_number
from fluxgym.config.vram_tiers import TIERS
from fluxgym.contract.learning import learns_little
from fluxgym.errors import Level
from fluxgym.planning.start_checks import Findings


def report_little_learning(config: TrainConfig, findings: Findings) -> None:
    """Warn, beside its field, about each setting with which the training is likely to learn nothing, or to diverge."""
    for name, value, why in learns_little(_values(config)):
        row = SETTINGS.get(name)
        shown = config.learning_rate if name == "learning_rate" else value
        message = f"{row.label if row else name} {shown} {why}."
        findings.add(Level.WARNING, message, row.name if row else "advanced")


def _values(config: TrainConfig) -> dict[str, Any]:
    """Return the trainer's numeric settings, also those in --network_args, and its optimizer, by the trainer's flag names."""
    values = {name: flag.default for name, flag in all_flags().items()} | _of_tier(config) | dict(config.advanced)
    values |= {"learning_rate": _number(config.learning_rate), "network_dim": config.network_dim}
    rates = values.get("text_encoder_lr")
    values["text_encoder_lr"] = [*map(_number, rates)] if isinstance(rates, list) else rates
    pairs = values.get("network_args")
    for name, _, text in (str(pair).partition("=") for pair in (pairs if isinstance(pairs, list) else [])):
        values.setdefault(name, _number(text))
    return values


def _of_tier(config: TrainConfig) -> dict[str, Any]:
    """Return the optimizer of the VRAM choice and its arguments, which the advanced settings may replace."""
    options = TIERS[config.vram].options
    return {"optimizer_type": "".join(options["--optimizer_type"] or ()), "optimizer_args": list(options.get("--optimizer_args") or ())}


def _number(value: Any) -> float | None:
    try:
        return to_number(value)
    except ValueError:
        return None

"""The settings of one training, as ui_state.json keeps them and the form shows them.

A TrainConfig checks itself; nothing that made one can be unusable for the trainer as far as one can tell without images and model files.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

from fluxgym.config.labels import LABELS
from fluxgym.config.trainer_flags import check_advanced
from fluxgym.config.values import is_text
from fluxgym.config.vram_tiers import TIERS
from fluxgym.errors import ConfigError

TIMESTEP_SAMPLINGS = ("shift", "sigmoid", "flux_shift", "uniform", "sigma")
RANGES = {
    "num_repeats": (1, 10_000),
    "max_train_epochs": (1, 100_000),
    "sample_every_n_steps": (0, 10_000_000),
    "resolution": (32, 4096),
    "seed": (0, 2**53 - 1),
    "workers": (0, 64),
    "save_every_n_epochs": (1, 100_000),
    "network_dim": (1, 4096),
}
RATE = re.compile(r"[+]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """What to train; the names are ui_state.json's. `learning_rate` stays as it was typed; `advanced` holds kohya's flags without dashes."""

    lora_name: str
    concept_sentence: str = ""
    base_model: str = "flux-dev"
    vram: str = "20G"
    num_repeats: int = 10
    max_train_epochs: int = 16
    sample_prompts: str = ""
    sample_every_n_steps: int = 0
    resolution: int = 512
    enable_checkpointing: bool = True
    resume_from_checkpoint: str = ""
    enable_monitoring: bool = True
    seed: int = 42
    workers: int = 2
    learning_rate: str = "8e-4"
    save_every_n_epochs: int = 4
    guidance_scale: float = 1.0
    timestep_sampling: str = "shift"
    network_dim: int = 4
    advanced: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, (low, high) in RANGES.items():
            _check_whole(name, getattr(self, name), low, high)
        _check_rate(self.learning_rate)
        _check_guidance(self.guidance_scale)
        _check_choice("vram", self.vram, tuple(TIERS))
        _check_choice("timestep_sampling", self.timestep_sampling, TIMESTEP_SAMPLINGS)
        for name in ("lora_name", "concept_sentence", "sample_prompts", "base_model", "resume_from_checkpoint"):
            _check_text(name, getattr(self, name))
        for name, value in self.advanced.items():
            check_advanced(name, value)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Read a config from ui_state.json's keys; missing ones get FluxGym's defaults, unknown ones are left alone.

        Raises ConfigError naming the field and its value.
        """
        values = {}
        for own in fields(cls):
            if state.get(own.name) is not None:
                values[own.name] = _converted(own.name, state[own.name])
        if "lora_name" not in values:
            raise ConfigError("The LoRA has no name yet; type one.", field="lora_name")
        return cls(**values)

    def to_state(self) -> dict[str, Any]:
        """Return ui_state.json's keys and values."""
        return {own.name: dict(self.advanced) if own.name == "advanced" else getattr(self, own.name) for own in fields(self)}


def _converted(name: str, value: Any) -> Any:
    """Bring a value from JSON or a form to its field's type; raises ConfigError when it has no such meaning."""
    if name in RANGES:
        return _as_whole(name, value)
    if name in ("enable_checkpointing", "enable_monitoring"):
        return _as_switch(name, value)
    if name == "guidance_scale":
        return _as_number(name, value)
    if name == "advanced":
        if not isinstance(value, Mapping):
            raise ConfigError("The advanced settings must be a table of kohya's flag names and values.", field="advanced")
        return dict(value)
    return str(value).strip() if name in ("lora_name", "learning_rate") else str(value)


def _as_whole(name: str, value: Any) -> int:
    number = _as_number(name, value)
    if number != int(number):
        raise ConfigError(f"{LABELS[name]} must be a whole number, not “{value}”.", field=name)
    return int(value) if isinstance(value, int) else int(number)


def _as_number(name: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if isinstance(value, bool) or not math.isfinite(number):
        raise ConfigError(f"{LABELS[name]} must be a number, not “{_short(value)}”.", field=name)
    return number


def _as_switch(name: str, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if str(value).strip().lower() in ("true", "1", "yes", "on", "false", "0", "no", "off"):
        return str(value).strip().lower() in ("true", "1", "yes", "on")
    raise ConfigError(f"{LABELS[name]} must be true or false, not “{_short(value)}”.", field=name)


def _check_whole(name: str, value: int, low: int, high: int) -> None:
    if not isinstance(value, int) or not low <= value <= high:
        raise ConfigError(f"{LABELS[name]} must be a whole number from {low} to {high}, not “{_short(value)}”.", field=name)


def _check_rate(text: str) -> None:
    rate = float(text) if RATE.fullmatch(text) else math.nan  # Python's float takes more than the trainer's users mean: "1_0", "١"
    if not (math.isfinite(rate) and 0 < rate <= 10):
        raise ConfigError(f"{LABELS['learning_rate']} must be a number above 0, such as 8e-4, not “{_short(text)}”.", field="learning_rate")


def _check_guidance(value: float) -> None:
    if not (math.isfinite(value) and 0 <= value <= 100):
        raise ConfigError(f"{LABELS['guidance_scale']} must be a number from 0 to 100, not “{value}”.", field="guidance_scale")


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigError(f"{LABELS[name]} must be one of {', '.join(choices)}, not “{_short(value)}”.", field=name)


def _check_text(name: str, value: str) -> None:
    if not is_text(value):
        raise ConfigError(f"{LABELS[name]} is too long or holds a character that files cannot hold.", field=name)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else text[:39] + "…"

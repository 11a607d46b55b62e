"""When a training generates sample images, and whether they match its saved LoRA files."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fluxgym.config.settings import SETTINGS, TrainConfig
from fluxgym.config.values import to_integer
from fluxgym.contract.wording import counted
from fluxgym.errors import Level
from fluxgym.planning.start_checks import Findings

STEPS_FIELD = "sample_every_n_steps"
SAVE_FIELD = "save_every_n_steps"
INTERVAL = SETTINGS[STEPS_FIELD].label


@dataclass(frozen=True, kw_only=True)
class SampleInterval:
    """The interval of sample images in steps, or else in epochs; 0 for never."""

    steps: int
    epochs: int

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> "SampleInterval":
        """Return the interval of a state, also of one that was edited; epochs take precedence, as in kohya's trainer."""
        advanced = state.get("advanced")
        epochs = count_of(advanced.get("sample_every_n_epochs") if isinstance(advanced, Mapping) else None)
        return cls(steps=0 if epochs else count_of(state.get(STEPS_FIELD)), epochs=epochs)


def count_of(value: Any) -> int:
    """Return a count in a state, 0 if it is not a number."""
    try:
        return max(0, to_integer(value))
    except ValueError:
        return 0


def report_sample_times(config: TrainConfig, steps: int | None, defaults: Mapping[str, Any], findings: Findings) -> None:
    """Warn about sample images that will not be generated, or never at a step whose LoRA is saved; steps is None if unknown.

    defaults are those of the base model. There is no warning about the steps of samples and saved files if both have their defaults.
    """
    interval = SampleInterval.of(config.to_state())
    if interval.epochs:
        if interval.epochs > config.max_train_epochs:
            many = f"the training has {counted(config.max_train_epochs, 'epoch')}, fewer than sample_every_n_epochs = {interval.epochs}"
            findings.add(Level.WARNING, f"No sample image is drawn during the training: {many}.", "advanced")
    elif interval.steps:
        _report_steps(config, interval.steps, steps or 0, defaults, findings)
    elif config.sample_prompts.strip() and not config.advanced.get("sample_at_first"):
        message = f"No sample image is drawn from your prompts: “{INTERVAL}” is 0. Enter a number of steps."
        findings.add(Level.WARNING, message, STEPS_FIELD)


def _report_steps(config: TrainConfig, every: int, steps: int, defaults: Mapping[str, Any], findings: Findings) -> None:
    if not steps:
        return
    if every > steps:
        message = f"No sample image is drawn during the training, which has {counted(steps, 'step')}. {_at_most(steps)}"
        findings.add(Level.WARNING, message, STEPS_FIELD)
        return
    saved_every = _saved_every(config, steps)
    first = min(saved_every)
    if first == steps:  # one file, at the end
        return
    if not _has_defaults(config, defaults) and all(math.lcm(saved, every) > steps for saved in saved_every):
        message = (
            f"Samples are drawn every {counted(every, 'step')}, LoRA files are saved every {first:,}; "
            f"set “{INTERVAL}” to {_nearest_divisor(first, every):,} to see each saved file."
        )
        findings.add(Level.WARNING, message, STEPS_FIELD)


def _at_most(steps: int) -> str:
    return "Enter 1." if steps == 1 else f"Enter a number from 1 to {steps:,}."


def report_save_times(config: TrainConfig, steps: int | None, findings: Findings) -> None:
    """Warn about a number of steps for saving that the training does not reach; steps is None if it is not known."""
    every = count_of(config.advanced.get(SAVE_FIELD))
    if steps and every > steps:
        message = (
            f"No LoRA file is saved by steps: “{SETTINGS[SAVE_FIELD].label}” is {every:,}, and the training has {counted(steps, 'step')}."
        )
        findings.add(Level.WARNING, f"{message} {_at_most(steps)}", SAVE_FIELD)


def _has_defaults(config: TrainConfig, defaults: Mapping[str, Any]) -> bool:
    """Return True if the user has set neither when samples are drawn nor when LoRA files are saved."""
    by_steps = config.advanced.get("save_every_n_steps") == defaults.get("advanced", {}).get("save_every_n_steps")
    return by_steps and all(getattr(config, name) == defaults.get(name) for name in (STEPS_FIELD, "save_every_n_epochs"))


def _saved_every(config: TrainConfig, steps: int) -> list[int]:
    """Return the save intervals in steps: the one by epochs, the one by steps, and last the length of the training."""
    by_epochs = config.save_every_n_epochs * (steps // config.max_train_epochs)
    by_steps = count_of(config.advanced.get(SAVE_FIELD))
    return [every for every in (by_epochs, by_steps, steps) if 0 < every <= steps]


def _nearest_divisor(number: int, wanted: int) -> int:
    small = [divisor for divisor in range(1, math.isqrt(number) + 1) if number % divisor == 0]
    return min((*small, *(number // divisor for divisor in small)), key=lambda divisor: abs(divisor - wanted))

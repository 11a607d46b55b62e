"""Warnings about values that are allowed, and far above what a training of a LoRA needs or its model is made for."""

from fluxgym.config.settings import SETTINGS, TrainConfig
from fluxgym.contract.limits import MANY_REPEATS, MANY_STEPS, MODEL_PIXELS
from fluxgym.contract.wording import counted
from fluxgym.errors import Level
from fluxgym.planning.start_checks import Findings
from fluxgym.runs.progress import duration_text

USUAL_SIDE = 512
DAY_S = 86_400
EPOCHS, REPEATS = "max_train_epochs", "num_repeats"


def report_large_values(config: TrainConfig, steps: int | None, findings: Findings) -> None:
    """Warn beside the field about a resolution, epochs and repeats that are far too large; steps is None if they are not known."""
    if config.resolution**2 > MODEL_PIXELS:
        _warn("resolution", config.resolution, findings, _too_many_pixels(config.resolution))
    at_least = config.num_repeats * config.max_train_epochs // int(config.flag("train_batch_size") or 1)  # with one image
    number = steps or at_least
    if number > MANY_STEPS:
        name = max((EPOCHS, REPEATS), key=lambda each: getattr(config, each) / SETTINGS[each].default)
        prefix = "" if steps else "at least "
        days = counted(round(number / DAY_S), "day") if number > 2 * DAY_S else duration_text(number)
        why = f"gives {prefix}{counted(number, 'step')}; a LoRA usually needs 1,000 to 5,000. At one step per second, that takes {days}."
        _warn(name, getattr(config, name), findings, why)
    elif config.num_repeats > MANY_REPEATS:
        why = "makes each epoch very long, and LoRA files are saved at the end of epochs; use fewer repeats and more epochs."
        _warn(REPEATS, config.num_repeats, findings, why)


def _warn(name: str, value: int, findings: Findings, why: str) -> None:
    findings.add(Level.WARNING, f"{SETTINGS[name].label} {value:,} {why}", name)


def _too_many_pixels(side: int) -> str:
    most, times = round(MODEL_PIXELS**0.5), (side / USUAL_SIDE) ** 2
    return (
        f"is more than FLUX.1 is made for: about {most:,} pixels per side, 2 megapixels. "
        f"Each image takes {times:.0f} times the computation of {USUAL_SIDE}, or more."
    )

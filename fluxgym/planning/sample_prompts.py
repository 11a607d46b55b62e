"""The trainer's sample prompts: the form's lines, completed with the values for which kohya has other defaults."""

from collections.abc import Iterator, Mapping

from fluxgym.config.setting_spec import Setting
from fluxgym.config.settings import SETTINGS, TrainConfig
from fluxgym.contract.sample_prompts import read_prompt

PROMPT_FLAGS = ("w", "h", "d")


def sample_prompts(config: TrainConfig) -> str:
    """Return the trainer's prompt lines: the form's, else the trigger; each with the training's size and seed where it names none.

    kohya's own defaults would be 512 × 512 pixels and a random seed, so that each sampling would generate a different image.
    """
    lines = [line.strip() for line in config.sample_prompts.splitlines() if line.strip()]
    lines = lines or [" ".join(config.concept_sentence.split()) or config.lora_name]
    defaults = {"w": config.resolution, "h": config.resolution, "d": config.seed}
    return "".join(line + "\n" if line.startswith("#") else _completed(line, defaults) + "\n" for line in lines)


def source_of_prompts(config: TrainConfig) -> Setting:
    """Return the setting whose text the sample prompts are: the prompts, else the trigger, else the LoRA name."""
    names = ("sample_prompts", "concept_sentence")
    return SETTINGS[next((name for name in names if str(getattr(config, name)).strip()), "lora_name")]


def check_sample_prompts(text: str, label: str = "") -> Iterator[str]:
    """Yield a message for each prompt that the trainer would refuse; prompts are counted without comments and empty lines.

    If no prompt was typed, label is the label of the field whose text is used as the only prompt.
    """
    lines = (line.strip() for line in text.splitlines())
    for number, line in enumerate((line for line in lines if line and not line.startswith("#")), 1):
        try:
            read_prompt(line)
        except ValueError as error:
            yield f"{label} is the sample prompt and cannot be used as one: {error}" if label else f"Sample prompt {number}: {error}"


def _completed(line: str, defaults: Mapping[str, int]) -> str:
    flags = {part.split(" ", 1)[0] for part in line.split(" --")[1:]}
    return line + "".join(f" --{flag} {defaults[flag]}" for flag in PROMPT_FLAGS if flag not in flags)

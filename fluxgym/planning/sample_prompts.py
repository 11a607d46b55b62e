"""The trainer's sample prompts: the form's lines, completed with the values for which kohya has other defaults."""

from collections.abc import Iterator, Mapping

from fluxgym.config.settings import TrainConfig
from fluxgym.contract.sample_prompts import read_prompt

PROMPT_FLAGS = ("w", "h", "d")


def sample_prompts(config: TrainConfig) -> str:
    """Return the trainer's prompt lines: the form's, else the trigger; each with the training's size and seed where it names none.

    kohya's own defaults would be 512 × 512 pixels and a random seed, so that each sampling would generate a different image.
    """
    lines = [line.strip() for line in config.sample_prompts.splitlines() if line.strip()]
    lines = lines or [" ".join(config.concept_sentence.split()) or config.lora_name]
    given = {"w": config.resolution, "h": config.resolution, "d": config.seed}
    return "".join(line + "\n" if line.startswith("#") else _completed(line, given) + "\n" for line in lines)


def check_sample_prompts(text: str) -> Iterator[str]:
    """Yield a message for each prompt that the trainer would refuse; prompts are counted without comments and empty lines."""
    lines = (line.strip() for line in text.splitlines())
    for number, line in enumerate((line for line in lines if line and not line.startswith("#")), 1):
        try:
            read_prompt(line)
        except ValueError as error:
            yield f"Sample prompt {number}: {error}"


def _completed(line: str, given: Mapping[str, int]) -> str:
    flags = {part.split(" ", 1)[0] for part in line.split(" --")[1:]}
    return line + "".join(f" --{flag} {given[flag]}" for flag in PROMPT_FLAGS if flag not in flags)

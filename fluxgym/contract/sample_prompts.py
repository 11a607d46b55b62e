"""The grammar of a line of sample prompts, `a prompt --w 512 --d 1`: kohya's flags, and the values that each accepts."""

import re
from collections.abc import Mapping

from fluxgym.contract.control_characters import complaint_about

FLAGS: Mapping[str, tuple[str, type]] = {
    "w": ("width", int),
    "h": ("height", int),
    "d": ("seed", int),
    "s": ("sample_steps", int),
    "g": ("guidance_scale", float),
    "l": ("scale", float),
    "n": ("negative_prompt", str),
}
SAMPLER = "ss"  # accepted without effect: FLUX is always sampled by Euler steps
RANGES: Mapping[str, tuple[int, int]] = {
    "width": (1, 8192), "height": (1, 8192), "seed": (0, 2**63 - 1), "sample_steps": (1, 1000), "guidance_scale": (0, 100), "scale": (0, 100),
}  # fmt: skip
_MEANT = {
    "width": "w", "height": "h", "seed": "d", "steps": "s", "sample_steps": "s", "guidance": "g", "guidance_scale": "g", "cfg": "l",
    "cfg_scale": "l", "scale": "l", "negative": "n", "neg": "n", "negative_prompt": "n",
}  # fmt: skip


def read_prompt(line: str) -> tuple[str, dict[str, int | float | str]]:
    """Return the text of a line and its values by name.

    Raises:
        ValueError: For a flag or value that cannot be used; the text is the error message.
    """
    if complaint := complaint_about(line):
        raise ValueError(f"it {complaint}.")
    prompt, *parts = re.split(r" --(?=\w)", f" {line.strip()}")
    values: dict[str, int | float | str] = {}
    for part in parts:
        flag, _, text = part.strip().partition(" ")
        if flag != SAMPLER:
            name = _name(flag)
            values[name] = _value(flag, text.strip())
    if not prompt.strip():
        raise ValueError("it has no text before its options.")
    return prompt.strip(), values


def _name(flag: str) -> str:
    if flag not in FLAGS:
        near = _MEANT.get(flag.lower())
        hint = f"use --{near}" if near else f"known: {', '.join(f'--{name}' for name in FLAGS)}"
        raise ValueError(f"--{flag[:40]} is not supported in sample prompts; {hint}.")
    return FLAGS[flag][0]


def _value(flag: str, text: str) -> int | float | str:
    name, value_type = FLAGS[flag]
    if value_type is str:
        return text
    try:
        value: int | float = value_type(text)
    except ValueError:
        is_decimal = value_type is float and re.fullmatch(r"[+-]?\d+,\d+", text, re.ASCII)
        hint = f"; use a point: {text.replace(',', '.')}" if is_decimal else ""
        raise ValueError(f"--{flag} {text[:40]} is not a {'whole ' * (value_type is int)}number{hint}.") from None
    low, high = RANGES[name]
    if not low <= value <= high:
        raise ValueError(f"--{flag} {text[:40]} must be between {low} and {high}.")
    return value

"""Prompts of sample images: kohya's lines with flags, TOML and JSON files."""

import json
import re
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from library.errors import TrainerError

FLAGS = {
    "w": ("width", int),
    "h": ("height", int),
    "d": ("seed", int),
    "s": ("sample_steps", int),
    "g": ("guidance_scale", float),
    "l": ("scale", float),
    "n": ("negative_prompt", str),
}
SAMPLER = "ss"
RANGES = {
    "width": (1, 8192), "height": (1, 8192), "seed": (0, 2**63 - 1), "sample_steps": (1, 1000), "guidance_scale": (0, 100), "scale": (0, 100),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class SamplePrompt:
    """One image to draw; names are kohya's. scale is the classifier-free guidance, 1 is off."""

    prompt: str
    width: int = 512
    height: int = 512
    seed: int | None = None
    sample_steps: int = 20
    guidance_scale: float = 3.5
    scale: float = 1.0
    negative_prompt: str = ""

    def on_grid(self) -> "SamplePrompt":
        """Floor the size to whole 16 pixels, at least 64, as kohya does."""
        return replace(self, width=max(64, self.width // 16 * 16), height=max(64, self.height // 16 * 16))


def read_prompts(path: str) -> list[SamplePrompt]:
    """Read prompts from a .txt (one per line, # comments), .toml or .json file; raises TrainerError naming file and line."""
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise TrainerError(f"--sample_prompts {path} is missing.") from None
    except UnicodeDecodeError:
        raise TrainerError(f"--sample_prompts {path} is not UTF-8 text.") from None
    except OSError as error:
        raise TrainerError(f"--sample_prompts {path} cannot be read: {error.strerror}.") from None
    if file.suffix in (".json", ".toml"):
        return [_from_table(table, f"{path}, prompt {number}") for number, table in enumerate(_tables_of(text, file), 1)]
    lines = ((number, line.strip()) for number, line in enumerate(text.splitlines(), 1))
    return [parse_line(line, f"{path}, line {number}") for number, line in lines if line and not line.startswith("#")]


def parse_line(line: str, source: str = "the prompt") -> SamplePrompt:
    """Read `a prompt --w 512 --d 1`; flags as in kohya. Raises TrainerError for an unknown flag or a value out of range."""
    prompt, *parts = re.split(r" --(?=\w)", line)
    values: dict[str, Any] = {}
    for part in parts:
        flag, _, value = part.strip().partition(" ")
        if flag == SAMPLER:
            continue  # FLUX is always sampled by Euler steps
        if flag not in FLAGS:
            raise TrainerError(f"{source}: --{flag} is not supported in sample prompts; known: {', '.join('--' + name for name in FLAGS)}.")
        name, kind = FLAGS[flag]
        try:
            values[name] = kind(value.strip())
        except ValueError:
            raise TrainerError(f"{source}: --{flag} {value} is not a number.") from None
        if name in RANGES and not RANGES[name][0] <= values[name] <= RANGES[name][1]:
            raise TrainerError(f"{source}: --{flag} {value} must be between {RANGES[name][0]} and {RANGES[name][1]}.")
    return SamplePrompt(prompt=prompt.strip(), **values).on_grid()


def _tables_of(text: str, file: Path) -> list[Any]:
    """Return the prompts of a .json or .toml file as tables; raises TrainerError if it holds no list of tables."""
    try:
        found = json.loads(text) if file.suffix == ".json" else tomllib.loads(text).get("prompt", {})
    except (ValueError, RecursionError) as error:
        raise TrainerError(f"--sample_prompts {file} cannot be read: {error}") from None
    if isinstance(found, dict) and file.suffix == ".toml":
        shared = {key: value for key, value in found.items() if key != "subset"}
        subsets = found.get("subset", [shared] if shared else [])
        found = [shared | table if isinstance(table, dict) else table for table in subsets] if isinstance(subsets, list) else None
    if not isinstance(found, list):
        raise TrainerError(f"--sample_prompts {file} must hold a list of tables, each with a prompt.")
    return found


def _from_table(table: Any, source: str) -> SamplePrompt:
    """Make a prompt from a table; raises TrainerError naming the key that is unknown or whose value is out of range."""
    kinds = dict(FLAGS.values()) | {"prompt": str}
    if not isinstance(table, dict) or "prompt" not in table:
        raise TrainerError(f"{source} must be a table with a prompt.")
    for name, value in table.items():
        if name not in kinds:
            raise TrainerError(f"{source}: {name} is not known; known: {', '.join(kinds)}.")
        odd = isinstance(value, bool) or not isinstance(value, (int, float) if kinds[name] is float else kinds[name])
        if odd or (name in RANGES and not RANGES[name][0] <= value <= RANGES[name][1]):
            wanted = f"a number from {RANGES[name][0]} to {RANGES[name][1]}" if name in RANGES else "a text"
            raise TrainerError(f"{source}: {name} must be {wanted}{', whole' if kinds[name] is int else ''}, not {value!r}.")
    return SamplePrompt(**table).on_grid()

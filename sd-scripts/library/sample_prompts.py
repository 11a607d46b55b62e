"""Prompts of sample images: kohya's lines with flags, TOML and JSON files."""

import errno
import json
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from fluxgym.contract.sample_prompts import FLAGS, RANGES, read_prompt
from library.errors import TrainerError

SUFFIXES = (".txt", ".toml", ".json")


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
    """Read prompts from a .txt (one per line, # comments), .toml or .json file.

    Raises:
        TrainerError: Naming file and line.
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        raise TrainerError(_missing(path)) from None
    except UnicodeDecodeError:
        raise TrainerError(f"--sample_prompts {path} is not UTF-8 text.") from None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise TrainerError(_missing(path)) from None
        raise TrainerError(f"--sample_prompts {path} cannot be read: {error.strerror}.") from None
    if file.suffix in (".json", ".toml"):
        return [_from_table(table, f"{path}, prompt {number}") for number, table in enumerate(_tables_of(text, file), 1)]
    lines = ((number, line.strip()) for number, line in enumerate(text.splitlines(), 1))
    return [parse_line(line, f"{path}, line {number}") for number, line in lines if line and not line.startswith("#")]


def _missing(path: str) -> str:
    if Path(path).suffix in SUFFIXES:
        return f"--sample_prompts {path} is missing."
    return f"--sample_prompts “{path[:80]}” is not a file: the flag takes the name of a .txt file with one prompt per line, not a prompt itself."


def parse_line(line: str, source: str = "the prompt") -> SamplePrompt:
    """Read `a prompt --w 512 --d 1`; flags as in kohya.

    Raises:
        TrainerError: For an unknown flag or a value out of range.
    """
    try:
        prompt, values = read_prompt(line)
    except ValueError as error:
        raise TrainerError(f"{source}: {error}") from None
    return SamplePrompt(prompt=prompt, **cast("dict[str, Any]", values)).on_grid()


def _tables_of(text: str, file: Path) -> list[Any]:
    """Return the prompts of a .json or .toml file as tables.

    Raises:
        TrainerError: If it holds no list of tables.
    """
    try:
        tables = json.loads(text) if file.suffix == ".json" else tomllib.loads(text).get("prompt", {})
    except (ValueError, RecursionError) as error:
        raise TrainerError(f"--sample_prompts {file} cannot be read: {error}") from None
    if isinstance(tables, dict) and file.suffix == ".toml":
        shared = {key: value for key, value in tables.items() if key != "subset"}
        subsets = tables.get("subset", [shared] if shared else [])
        tables = [shared | table if isinstance(table, dict) else table for table in subsets] if isinstance(subsets, list) else None
    if not isinstance(tables, list):
        raise TrainerError(f"--sample_prompts {file} must hold a list of tables, each with a prompt.")
    return tables


def _from_table(table: Any, source: str) -> SamplePrompt:
    """Make a prompt from a table.

    Raises:
        TrainerError: Naming the key that is unknown or whose value is out of range.
    """
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

"""Schema of progress.jsonl: one JSON object per line, written by the trainer and the supervisor, read by the app.

Every line has `time` (seconds since the epoch), `attempt` and `phase`. `step` and `total_steps` count over all attempts, `epoch` from 1.
Lines of phase `training` add `loss`, `lr` and `s_per_it` (seconds per step); phases of many small parts add `item` and `num_items`; the
last line of a failed trainer adds `reason_code` and `reason`. A field without a value is left out. Other fields are allowed.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fluxgym.contract.regular_files import append_regular

NUMBER_LIMIT = 2**53  # from here on, integers are exact neither in JSON nor in a browser
NUMBERS = frozenset({
    "time", "attempt", "step", "total_steps", "epoch", "loss", "val_loss", "lr", "s_per_it", "vram_mb", "rss_mb", "item", "num_items",
})  # fmt: skip

Line = dict[str, Any]


def is_number(value: object) -> bool:
    """Return True for an int or a finite float within the limit; a bool is not a number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < NUMBER_LIMIT  # False for NaN


def validate_line(value: Any) -> Line | None:
    """Return a parsed line without numeric fields that hold something else; None if it is not an object or its phase is not text."""
    if not isinstance(value, dict) or not isinstance(value.get("phase", ""), str):
        return None
    return _without_bad_numbers(value)


def format_line(fields: Mapping[str, Any]) -> str:
    """Return a line of the file, with its line feed. Fields that are None, and numbers that readers refuse, are left out."""
    return json.dumps(_without_bad_numbers({name: value for name, value in fields.items() if value is not None})) + "\n"


def append_lines(path: Path, text: str) -> None:
    """Append formatted lines to the file, created if necessary.

    Raises:
        OSError: For a link, which would lead them into another file.
    """
    with append_regular(path) as file:
        file.write(text.encode())


def _without_bad_numbers(line: Line) -> Line:
    return {name: value for name, value in line.items() if name not in NUMBERS or is_number(value)}

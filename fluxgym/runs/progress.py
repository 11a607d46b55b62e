"""Read progress.jsonl: its last lines, for which only the end of a large file is read, or all lines."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from fluxgym.contract.codes import FINISHED
from fluxgym.contract.progress import Line, validate_line
from fluxgym.contract.regular_files import open_regular
from fluxgym.runs.atomic_files import parse_json

TAIL_BYTES = 16_384


def read_last(path: Path) -> Line | None:
    """Return the last complete line, None if there is none."""
    return next(_lines_from_end(path), None)


def read_first(path: Path) -> Line | None:
    """Return the first complete line, None if there is none."""
    try:
        with open_regular(path) as file:
            return next(lines_in(file.read(TAIL_BYTES).splitlines()), None)
    except OSError:
        return None


def is_done(line: Line | None) -> bool:
    """Return True if a trainer's last line reports that it is done, whether or not its result was verified."""
    return line is not None and line.get("phase") in FINISHED


def read_end(path: Path) -> tuple[Line | None, Line | None]:
    """Return the last complete line, and the last one with a loss near the end of the file, from one read."""
    last = None
    for line in _lines_from_end(path):
        last = last or line
        if "loss" in line:
            return last, line
    return last, None


def read_last_training(path: Path) -> Line | None:
    """Return the last line with a loss near the end of the file, None if there is none."""
    return next((line for line in _lines_from_end(path) if "loss" in line), None)


def _lines_from_end(path: Path) -> Iterator[Line]:
    """Yield the lines near the end of the file, the last first; a line is parsed when it is requested."""
    try:
        with open_regular(path) as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - TAIL_BYTES))
            data = file.read()
    except OSError:
        return
    for text in reversed(data.splitlines()):
        if (line := _parsed(text)) is not None:
            yield line


def _parsed(text: bytes) -> Line | None:
    try:
        return validate_line(parse_json(text))
    except (ValueError, RecursionError):
        return None


def lines_in(texts: Iterable[bytes]) -> Iterator[Line]:
    """Yield each line that is valid, in order."""
    for text in texts:
        if (line := _parsed(text)) is not None:
            yield line


def eta_s(line: Line) -> float | None:
    """Return the seconds that the remaining steps take at the current speed, None if the line lacks a number."""
    try:
        return float(max(0, line["total_steps"] - line["step"]) * line["s_per_it"])
    except (KeyError, TypeError):
        return None


def duration_text(seconds: float) -> str:
    """Return a duration as "42 s", "21 min" or "2 h 5 min"."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"

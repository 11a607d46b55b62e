"""The sample images of a run as a matrix of prompts and steps, and when the next ones are drawn."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fluxgym.contract.files import parse_sample_name
from fluxgym.contract.regular_files import read_regular
from fluxgym.planning.sample_times import INTERVAL, SampleInterval, count_of
from fluxgym.runs.path_checks import is_served
from fluxgym.runs.paths import RunPaths
from fluxgym.runs.state import State
from fluxgym.sessions.run_metrics import TrainingRecord
from fluxgym.ui.api.run_answers import ComparedSamples, NextSamples, SampleColumn, SampleMatrix

MAX_PROMPTS_BYTES = 1 << 20


def sample_matrix(run: RunPaths, state: State, record: TrainingRecord, *, progress: Mapping[str, Any], is_live: bool) -> SampleMatrix:
    """Return the sample images by prompt and step; of several images for the same prompt and step, the latest one counts."""
    lines, columns = _lines_and_columns(run, record)
    upcoming = _next(state, progress) if is_live else None
    return SampleMatrix(
        prompts=[_prompt(line) for line in lines],
        columns=columns,
        upcoming=upcoming,
        interval=_interval_text(state),
        empty=_empty_text(state, upcoming, is_live=is_live),
    )


def latest_samples(runs: Iterable[tuple[RunPaths, str, TrainingRecord]]) -> ComparedSamples:
    """Return the latest images of several runs, given with their names, by prompt; a run without images has no column.

    Images belong together if their lines of the prompt file are equal, flags such as the seed included; of several equal lines the first
    of one run belongs to the first of the other.
    """
    latest: list[tuple[SampleColumn, dict[tuple[str, int], str | None]]] = []
    for run, name, record in runs:
        lines, columns = _lines_and_columns(run, record)
        if columns:
            column = next((each for each in reversed(columns) if None not in each.images), columns[-1])  # the last may be being drawn
            latest.append((replace(column, key=run.slug, label=name), dict(zip(_numbered(lines), column.images, strict=True))))
    rows = list(dict.fromkeys(row for _, images in latest for row in images))
    by_row = [replace(column, images=[images.get(row) for row in rows]) for column, images in latest]
    return ComparedSamples(prompts=[_prompt(line) for line, _ in rows], columns=by_row)


def _numbered(lines: Iterable[str]) -> Iterator[tuple[str, int]]:
    """Yield each line with the number of equal ones before it."""
    seen: Counter[str] = Counter()
    for line in lines:
        yield line, seen[line]
        seen[line] += 1


def _prompt(line: str) -> str:
    """Return the text of a line of the prompt file, without its flags."""
    return line.partition(" --")[0]


def _lines_and_columns(run: RunPaths, record: TrainingRecord) -> tuple[list[str], list[SampleColumn]]:
    """Return the lines of the prompt file that have an image, and the images by step, the earliest first."""
    images_by_position = _images(run)
    indices = sorted({index for images in images_by_position.values() for index in images})
    lines = _lines(run.sample_prompts)
    drawn = [lines[index] if index < len(lines) else f"Prompt {index + 1}" for index in indices]
    columns = [_column(position, images_by_position[position], indices, record) for position in images_by_position]
    return drawn, sorted(columns, key=lambda column: (column.step or 0, column.epoch or 0))


Position = tuple[int | None, int | None]  # epoch and step, one of which is None


def _images(run: RunPaths) -> dict[Position, dict[int, str]]:
    """Return the URL of each prompt's image by its position; names sort by time. Links are left out, because they are not served."""
    urls: dict[Position, dict[int, str]] = {}
    for path in sorted(run.samples.glob("*.png")):
        if (sample := parse_sample_name(path.name)) is None or not is_served(path):
            continue
        urls.setdefault((sample.epoch, sample.step), {})[sample.index] = f"runs/{quote(run.slug)}/samples/{quote(path.name)}"
    return urls


def _column(position: Position, images: dict[int, str], indices: list[int], record: TrainingRecord) -> SampleColumn:
    epoch, step = position
    is_by_epoch = epoch is not None
    if epoch is None:
        epoch = next((number for number, end in record.epoch_ends.items() if end == step), None)
    if is_by_epoch:
        step = record.epoch_ends.get(epoch or 0)
    label = f"Epoch {epoch}" if is_by_epoch else "Before" if step == 0 else f"Step {step}"
    key = f"e{position[0]}" if is_by_epoch else f"s{position[1]}"
    return SampleColumn(key=key, label=label, step=step, epoch=epoch, images=[images.get(index) for index in indices])


def _next(state: State, progress: Mapping[str, Any]) -> NextSamples | None:
    """Return the next sample images, None if there are no more or if it cannot be computed."""
    interval = SampleInterval.of(state)
    step, total = progress.get("step", 0), progress.get("total_steps")
    if interval.steps and isinstance(step, int) and isinstance(total, int):
        following = (step // interval.steps + 1) * interval.steps
        return NextSamples(label=f"Step {following}", step=following) if following <= total else None
    epoch, last = progress.get("epoch"), count_of(state.get("max_train_epochs"))
    if interval.epochs and isinstance(epoch, int):  # the number of the epoch that is being trained
        following = -(-max(1, epoch) // interval.epochs) * interval.epochs
        return NextSamples(label=f"Epoch {following}", step=None) if following <= last else None
    return None


def _interval_text(state: State) -> str:
    interval = SampleInterval.of(state)
    if interval.steps:
        return "Every step" if interval.steps == 1 else f"Every {interval.steps:,} steps"
    return ("Every epoch" if interval.epochs == 1 else f"Every {interval.epochs:,} epochs") if interval.epochs else ""


def _empty_text(state: State, upcoming: NextSamples | None, *, is_live: bool) -> str:
    """Return what to expect while there are no sample images."""
    text = _interval_text(state)
    if not text:
        return f"This run draws no sample images: “{INTERVAL}” is 0."
    if not is_live:
        return "This run drew no sample images."
    if upcoming is not None:
        return f"The first sample images appear at {upcoming.label.lower()}."
    return f"{text}, sample images appear here."


def _lines(path: Path) -> list[str]:
    """Return a prompt file's lines as the trainer numbers them: without empty lines and comments."""
    try:
        lines = read_regular(path, MAX_PROMPTS_BYTES).decode("utf-8-sig", "replace").splitlines()
    except OSError:
        return []
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]

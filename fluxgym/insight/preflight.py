"""Checks before Start, as lines of green, amber and red: name, pictures, model files, disk, steps. Reads only; raises nothing."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fluxgym.config.tiers import DESCRIPTIONS
from fluxgym.config.train_config import TrainConfig
from fluxgym.dataset.folder import PictureFolder, sizes
from fluxgym.dataset.steps import expected_steps
from fluxgym.dataset.toml import dataset_toml
from fluxgym.errors import FluxGymError
from fluxgym.models.catalog import apply_defaults, find_files, get_model, regularisation_folder
from fluxgym.models.identify import identify
from fluxgym.run.names import slug_of

RESERVE_BYTES = 500 << 20


@dataclass(frozen=True)
class Line:
    """One check's result; `field` names the form field that it is about."""

    level: Literal["ok", "warning", "error"]
    text: str
    field: str | None = None


@dataclass(frozen=True)
class Preflight:
    """All lines, and the number of steps when it can be told."""

    lines: tuple[Line, ...]
    steps: int | None = None

    @property
    def can_start(self) -> bool:
        """Say whether nothing stands in the way."""
        return all(line.level != "error" for line in self.lines)


def check(state: Mapping[str, Any], pictures: Path, models: Path, outputs: Path) -> Preflight:
    """Check what Start would do with these settings and pictures."""
    lines: list[Line] = []
    config = _config(state, models, lines)
    if config is None:
        return Preflight(tuple(lines))
    lines.append(_model_line(config, models))
    lines.append(Line("ok", f"VRAM {config.vram}: {DESCRIPTIONS[config.vram]}.", "vram"))
    lines += _picture_lines(pictures, config)
    steps = _steps(config, pictures, models, lines)
    lines.append(_disk_line(outputs))
    return Preflight(tuple(lines), steps)


def _config(state: Mapping[str, Any], models: Path, lines: list[Line]) -> TrainConfig | None:
    try:
        config = TrainConfig.from_state(apply_defaults(state, models))
        slug_of(config.lora_name)
        return config
    except FluxGymError as error:
        lines.append(Line("error", str(error), error.field))
        return None


def _model_line(config: TrainConfig, models: Path) -> Line:
    try:
        files, title = find_files(config.base_model, models), get_model(config.base_model, models).title
        known = identify(files.transformer)
        told = f"; the transformer is {known.words}" if known.roles else ""
        return Line("ok", f"{title}: all four files are here{told}.", "base_model")
    except FluxGymError as error:
        return Line("error", str(error), error.field)


def _picture_lines(pictures: Path, config: TrainConfig) -> list[Line]:
    items = PictureFolder(pictures).items()
    if not items:
        return [Line("error", "There are no pictures yet; add at least one.", "pictures")]
    bare = sum(not item.caption for item in items)
    lines = [Line("ok", f"{len(items)} picture{'s' * (len(items) > 1)}, {len(items) - bare} with a caption.", "pictures")]
    if bare and not config.concept_sentence:
        lines.append(Line("warning", f"{bare} of them have neither a caption nor a trigger word to stand for one.", "concept_sentence"))
    return lines


def _steps(config: TrainConfig, pictures: Path, models: Path, lines: list[Line]) -> int | None:
    try:
        folder = regularisation_folder(config, models)
        dataset_toml(config, pictures, folder)
        seen = list(sizes(pictures))
        steps = expected_steps(config, seen, list(sizes(folder)) if folder else ())
    except FluxGymError as error:
        lines.append(Line("error", str(error), error.field))
        return None
    small = sum(min(size) < config.resolution for size in seen)
    if small:
        what = "1 of them is" if small == 1 else f"{small} of them are"
        lines.append(Line("warning", f"{what} smaller than {config.resolution} pixels on a side and will be enlarged.", "pictures"))
    return steps or None


def _disk_line(outputs: Path) -> Line:
    place = next(folder for folder in (outputs, *outputs.parents) if folder.is_dir())
    if not os.access(place, os.W_OK):
        return Line("error", f"{outputs} cannot be written; check its permissions, or choose another folder with --outputs.")
    free = shutil.disk_usage(place).free
    if free < RESERVE_BYTES:
        return Line("error", f"Only {free >> 20} MB are free on the disk of {outputs}; free at least {RESERVE_BYTES >> 20} MB.")
    return Line("ok", f"{free / (1 << 30):.0f} GB are free on the disk.")

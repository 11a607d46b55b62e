"""Checks before Start, as lines of green, amber and red: name, images, model files, disk, steps. Reads only; raises nothing."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from fluxgym.config.settings import TrainConfig
from fluxgym.config.vram_tiers import DESCRIPTIONS
from fluxgym.dataset.dataset_spec import dataset_toml, expected_steps
from fluxgym.dataset.folder import ImageCounts, ImageFolder, sizes
from fluxgym.errors import FluxGymError
from fluxgym.models.catalog import FoundFiles, apply_defaults, find_files, get_model, regularization_folder
from fluxgym.models.identify import identify
from fluxgym.runs.files import check_free_space
from fluxgym.runs.state import slug_of

Level = Literal["ok", "warning", "error"]
Found = TypeVar("Found")


@dataclass(frozen=True)
class Line:
    """One check's result; `field` names the form field that it is about."""

    level: Level
    text: str
    field: str | None = None


@dataclass
class Preflight:
    """All lines, the model's files when they are whole, and the number of steps when it can be told."""

    lines: list[Line] = field(default_factory=list)
    files: FoundFiles | None = None
    steps: int | None = None

    @property
    def can_start(self) -> bool:
        """Return True if nothing stands in the way."""
        return all(line.level != "error" for line in self.lines)

    def add(self, level: Level, text: str, about: str | None = None) -> None:
        """Add a line, once."""
        if (line := Line(level, text, about)) not in self.lines:
            self.lines.append(line)

    def tell(self, about: str | None, look: Callable[[], Found]) -> Found | None:
        """Return what a look finds; one that is refused becomes a line, about its own field or this one, and None."""
        try:
            return look()
        except FluxGymError as error:
            self.add("error", str(error), error.field or about)
        except OSError as error:
            self.add("error", f"{error.filename or 'A file'} cannot be read: {error.strerror or error}.", about)
        return None


def check(state: Mapping[str, Any], images: Path, models: Path, outputs: Path) -> Preflight:
    """Check what Start would do with these settings and images."""
    found = Preflight()
    config = found.tell(None, lambda: _config(state, models))
    if config is None:
        return found
    found.files = found.tell("base_model", lambda: _files(found, config, models))
    found.add("ok", f"VRAM {config.vram}: {DESCRIPTIONS[config.vram]}.", "vram")
    if tally := found.tell("images", lambda: ImageFolder(images).tally()):
        _tell_images(found, tally, config)
    found.steps = found.tell("images", lambda: _steps(found, config, images, models))
    if free := found.tell(None, lambda: check_free_space(outputs)):
        found.add("ok", f"{free / (1 << 30):.0f} GB are free on the disk.")
    return found


def _config(state: Mapping[str, Any], models: Path) -> TrainConfig:
    config = TrainConfig.from_state(apply_defaults(state, models))
    slug_of(config.lora_name)
    return config


def _files(found: Preflight, config: TrainConfig, models: Path) -> FoundFiles:
    files, title = find_files(config.base_model, models), get_model(config.base_model, models).title
    known = identify(files.transformer)
    told = f"; the transformer is {known.words}" if known.roles else ""
    found.add("ok", f"{title}: all four files are here{told}.", "base_model")
    return files


def _tell_images(found: Preflight, tally: ImageCounts, config: TrainConfig) -> None:
    if not tally.images:
        found.add("error", "There are no images yet; add at least one.", "images")
        return
    bare = tally.images - tally.captioned
    found.add("ok", f"{tally.images} image{'s' * (tally.images > 1)}, {tally.captioned} with a caption.", "images")
    if bare and not config.concept_sentence:
        found.add("warning", f"{bare} of them have neither a caption nor a trigger word to stand for one.", "concept_sentence")


def _steps(found: Preflight, config: TrainConfig, images: Path, models: Path) -> int | None:
    """Return the expected steps, None without images; tells of images that are smaller than the training."""
    folder = regularization_folder(config, models)
    dataset_toml(config, images, folder)
    seen = list(sizes(images))
    steps = expected_steps(config, seen, list(sizes(folder)) if folder else ())
    small = sum(min(size) < config.resolution for size in seen)
    if small:
        what = "1 of them is" if small == 1 else f"{small} of them are"
        found.add("warning", f"{what} smaller than {config.resolution} pixels on a side and will be enlarged.", "images")
    return steps or None

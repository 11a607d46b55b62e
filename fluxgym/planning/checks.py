"""The checks before Start: model files, images, steps and disk, each with a result for the user. They only read files and never raise."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from fluxgym.config.settings import TrainConfig
from fluxgym.config.vram_tiers import DESCRIPTIONS
from fluxgym.contract.buckets import Size
from fluxgym.dataset.folder import ImageFolder, sizes
from fluxgym.errors import DatasetError, FluxGymError, Level, Problem, StorageError, problem_of
from fluxgym.models.catalog import FoundFiles, Model, find_files, regularization_folder
from fluxgym.models.identify import identify
from fluxgym.runs.files import check_free_space
from fluxgym.trainers.base import TrainerBackend

IMAGES = "images"  # the field that stands for the images
Found = TypeVar("Found")


@dataclass(frozen=True, kw_only=True)
class ImageSet:
    """The images of a training: sizes (width, height) in the order of their names; is_complete is False if some cannot be read."""

    folder: Path
    count: int = 0
    captioned: int = 0
    sizes: tuple[Size, ...] = ()
    regularization: Path | None = None
    regularization_sizes: tuple[Size, ...] = ()
    is_complete: bool = True


class Findings:
    """Collects the results of checks, each one once."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def add(self, level: Level, message: str, field: str | None = None) -> None:
        """Add a result."""
        self._append(Problem(level=level, message=message, field=field))

    def refuse(self, error: FluxGymError, field: str | None = None) -> None:
        """Add an error as a result; `field` is used if the error names none."""
        self._append(problem_of(error, field))

    def attempt(self, action: Callable[[], Found], field: str | None = None) -> Found | None:
        """Return the result of an action, or None after adding its error."""
        try:
            return action()
        except FluxGymError as error:
            self.refuse(error, field)
        except OSError as error:
            self.refuse(StorageError(f"{error.filename or 'A file'} cannot be read: {error.strerror or error}."), field)
        return None

    def _append(self, problem: Problem) -> None:
        if all((known.level, known.message, known.field) != (problem.level, problem.message, problem.field) for known in self.problems):
            self.problems.append(problem)


def check_model(model: Model | None, models: Path, findings: Findings) -> FoundFiles | None:
    """Return the files of a model if all of them are there, and report which transformer they have."""
    if model is None:
        return None
    files = findings.attempt(lambda: find_files(model.id, models), "base_model")
    known = findings.attempt(lambda: identify(files.transformer), "base_model") if files else None
    if known is not None:
        transformer = f"; the transformer is {known.words}" if known.roles else ""
        findings.add(Level.OK, f"{model.title}: all four files are here{transformer}.", "base_model")
    return files


def report_tier(config: TrainConfig, findings: Findings) -> None:
    """Report what the VRAM tier switches."""
    findings.add(Level.OK, f"GPU memory {config.vram}: {DESCRIPTIONS[config.vram]}.", "vram")


def read_images(config: TrainConfig, folder: Path, models: Path, findings: Findings) -> ImageSet:
    """Return the images and regularization images, and report missing captions."""
    counts = findings.attempt(ImageFolder(folder).tally, IMAGES)
    if counts:
        _report_counts(config, counts.images, counts.captioned, findings)
    num_problems = len(findings.problems)
    regularization = findings.attempt(lambda: regularization_folder(config, models), IMAGES)
    own, others = _sizes(folder, findings), _sizes(regularization, findings) if regularization else ()
    return ImageSet(
        folder=folder,
        count=counts.images if counts else 0,
        captioned=counts.captioned if counts else 0,
        sizes=own,
        regularization=regularization,
        regularization_sizes=others,
        is_complete=len(findings.problems) == num_problems,
    )


def _sizes(folder: Path, findings: Findings) -> tuple[Size, ...]:
    return findings.attempt(lambda: tuple(sizes(folder)), IMAGES) or ()


def _report_counts(config: TrainConfig, images: int, captioned: int, findings: Findings) -> None:
    if not images:
        findings.refuse(DatasetError("Add at least one image."), IMAGES)
        return
    findings.add(Level.OK, f"{images} image{'s' * (images > 1)}, {_without(images - captioned)}.", IMAGES)
    if captioned < images and not config.concept_sentence:
        message = f"{_without(images - captioned).capitalize()} and no trigger word that stands for it."
        findings.add(Level.WARNING, message, "concept_sentence")


def _without(missing: int) -> str:
    return f"{missing} without a caption" if missing else "all with a caption"


def check_formats(trainer: TrainerBackend, images: ImageSet, findings: Findings) -> None:
    """Report images that the trainer would leave out silently."""
    for folder in filter(None, (images.folder, images.regularization)):
        captions = findings.attempt(ImageFolder(folder).captions, IMAGES)
        if captions and (skipped := trainer.skipped_images(list(captions.texts))):
            which = skipped[0] if len(skipped) == 1 else f"{skipped[0]} and {len(skipped) - 1} more"
            message = f"{which}: {trainer.title}, does not read this format; save as .png, or train without --sd-scripts."
            findings.add(Level.ERROR, message, IMAGES)


def report_small_images(config: TrainConfig, images: ImageSet, findings: Findings) -> None:
    """Report images that are smaller than the training resolution."""
    small = sum(min(size) < config.resolution for size in images.sizes)
    if small:
        subject = "1 image is" if small == 1 else f"{small} images are"
        findings.add(Level.WARNING, f"{subject} smaller than {config.resolution} pixels on a side and will be enlarged.", IMAGES)


def check_disk(outputs: Path, findings: Findings) -> None:
    """Report the free disk space."""
    if free := findings.attempt(lambda: check_free_space(outputs)):
        findings.add(Level.OK, f"{free / 10**9:.0f} GB are free on the disk.")

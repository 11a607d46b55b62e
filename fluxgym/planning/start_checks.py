"""The checks before Start: model files, images, steps and disk, each with a result for the user. They only read files and never raise."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from fluxgym.config.settings import TrainConfig
from fluxgym.config.vram_tiers import TIERS, best_tier, is_above
from fluxgym.contract.buckets import Size
from fluxgym.contract.caption_files import CAPTION, trained_text
from fluxgym.contract.dataset_notes import (
    cut_captions_message,
    no_images_message,
    not_files_message,
    notes,
    undecodable_message,
    unused_message,
    without_trigger_message,
)
from fluxgym.contract.folder_summary import FolderSummary, required_trigger, without_trigger
from fluxgym.contract.wording import MAX_NAMED
from fluxgym.dataset.dataset_spec import caption_rules
from fluxgym.dataset.folder import ImageFolder, check_names, refusal_of
from fluxgym.dataset.folder_index import FolderIndex, FolderIndexes
from fluxgym.dataset.images import DecodedImages
from fluxgym.errors import ConfigError, DatasetError, FluxGymError, Level, Problem, StorageError, problem_of
from fluxgym.models.caption_tokens import token_limit, too_long
from fluxgym.models.catalog import FoundFiles, Model, find_files, regularization_folder
from fluxgym.models.identify import identify
from fluxgym.planning.sample_prompts import check_sample_prompts, sample_prompts, source_of_prompts
from fluxgym.runs.disk_space import check_free_space
from fluxgym.runs.gpus import has_gpu, smallest_memory_gib
from fluxgym.runs.locks import keeps_hosts_apart, without_locks
from fluxgym.runs.paths import OutputsPaths
from fluxgym.trainers.base import TrainerBackend
from fluxgym.trainers.options import draws_samples

LARGE_MODEL_BYTES = 2 * 10**9  # FLUX.1 has 12 to 24 GB, the pocket model 17 MB
IMAGES = "images"  # the field that stands for the images
REGULARIZATION = "reg_data_dir"
Found = TypeVar("Found")


@dataclass(frozen=True, kw_only=True)
class ImageSet:
    """The images of a training: sizes (width, height) in the order of their names; is_complete is False if some cannot be read.

    captions are the texts by image name, "" where there is none.
    """

    folder: Path
    count: int = 0
    captioned: int = 0
    sizes: tuple[Size, ...] = ()
    regularization: Path | None = None
    regularization_sizes: tuple[Size, ...] = ()
    is_complete: bool = True
    captions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TrainedFolders:
    """The folders of a training's images: images has its own, models may have its regularization images; indexes reads both."""

    images: Path
    models: Path
    indexes: FolderIndexes


class Findings:
    """Collects the results of checks, each one once."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def add(self, level: Level, message: str, field: str | None = None) -> None:
        """Add a result."""
        if level is Level.ERROR:
            self.refuse(ConfigError(message, field=field))
        else:
            self._append(Problem(level=level, message=message, field=field))

    def warn_of_images(self, message: str, images: str, num_images: int) -> None:
        """Add a warning about some of the images; `images` is the page's filter that shows them, or "unused_caption" for files to be removed."""
        self._append(Problem(level=Level.WARNING, message=message, field=IMAGES, images=images, num_images=num_images))

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
        if all(
            (reported.level, reported.message, reported.field) != (problem.level, problem.message, problem.field)
            for reported in self.problems
        ):
            self.problems.append(problem)


def check_model(model: Model | None, models: Path, findings: Findings) -> FoundFiles | None:
    """Return the files of a model if all of them exist, and report which transformer they have."""
    if model is None:
        return None
    files = findings.attempt(lambda: find_files(model.id, models), "base_model")
    identity = findings.attempt(lambda: identify(files.transformer), "base_model") if files else None
    if identity is not None:
        transformer = f"; the transformer is {identity.words}" if identity.roles else ""
        findings.add(Level.OK, f"{model.title}: all four files are here{transformer}.", "base_model")
    return files


def report_tier(config: TrainConfig, files: FoundFiles | None, findings: Findings) -> None:
    """Report what the VRAM tier switches, and if there is no GPU, or one with less memory than the tier is for."""
    tier, switches = config.vram, TIERS[config.vram].description
    if not has_gpu():
        is_large = files is not None and _size(files.transformer) > LARGE_MODEL_BYTES
        slow = " A model of this size needs days there." if is_large else ""
        message = f"No GPU was found: this training runs on the CPU.{slow} GPU memory {tier} still sets: {switches}."
        findings.add(Level.WARNING if is_large else Level.OK, message, "vram")
        return
    memory = smallest_memory_gib()
    if memory is None or not is_above(tier, memory):
        findings.add(Level.OK, f"GPU memory {tier}: {switches}.", "vram")
        return
    better = best_tier(memory)
    remedy = f"choose {TIERS[better].title}" if better else "no choice is for so small a card"
    message = f"This GPU has {memory:.0f} GiB of memory, and GPU memory {tier} is for larger cards: it may run out of memory; {remedy}."
    findings.add(Level.WARNING, message, "vram")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() else LARGE_MODEL_BYTES + 1  # a folder of diffusers' form is a whole FLUX
    except OSError:
        return 0


def read_images(config: TrainConfig, folders: TrainedFolders, findings: Findings) -> ImageSet:
    """Return the images and regularization images, and report which files would not be trained or would be misread."""
    rules = findings.attempt(lambda: caption_rules(config), "advanced")
    extension = CAPTION if rules is None else rules.extension
    folder, indexes = folders.images, folders.indexes
    summary = findings.attempt(lambda: indexes.of(folder, extension).summary(), IMAGES)
    if summary is not None:
        _report_summary(config, summary, extension, findings)
    num_problems = len(findings.problems)
    regularization = findings.attempt(lambda: regularization_folder(config, folders.models), REGULARIZATION)
    if regularization is not None:
        index = indexes.of(regularization, extension)
        _report_regularization(regularization, index, extension, findings)
    own = _sizes(indexes.of(folder), IMAGES, findings)
    others = _sizes(indexes.of(regularization), REGULARIZATION, findings) if regularization else ()
    return ImageSet(
        folder=folder,
        count=len(summary.captions) if summary else 0,
        captioned=sum(map(bool, summary.captions.values())) if summary else 0,
        sizes=own,
        regularization=regularization,
        regularization_sizes=others,
        is_complete=all(problem.level is not Level.ERROR for problem in findings.problems[num_problems:]),
        captions={} if summary is None else summary.captions,
    )


def _report_summary(config: TrainConfig, summary: FolderSummary, extension: str, findings: Findings) -> None:
    """Report the numbers of images and captions, what is left out, and captions that cannot be read."""
    if not summary.captions:
        sentences = no_images_message(summary.subfolders) or "Add at least one image.", not_files_message(summary.not_files)
        findings.refuse(DatasetError(" ".join(filter(None, sentences))), IMAGES)
        return
    _report_counts(config, len(summary.captions), sum(map(bool, summary.captions.values())), findings)
    findings.attempt(lambda: check_names(summary.captions), IMAGES)
    _report_unreadable(summary, IMAGES, findings)
    unused = summary.pairing.unused
    for sentence in notes(summary, extension=extension):
        if unused and sentence == unused_message(unused):
            findings.warn_of_images(sentence, "unused_caption", len(unused))
        else:
            findings.add(Level.WARNING, sentence, IMAGES)
    trigger = trigger_of_captions(config)
    if lacking := without_trigger(summary.captions, trigger):
        findings.warn_of_images(without_trigger_message(lacking, trigger), "no_trigger", len(lacking))


def trigger_of_captions(config: TrainConfig) -> str:
    """Return the trigger word that each caption should contain, "" if there is none or a prefix or suffix adds it."""
    prefix, suffix = _around(config)
    return required_trigger(config.concept_sentence, prefix=prefix, suffix=suffix)


def _around(config: TrainConfig) -> tuple[str, str]:
    """Return the texts that are added before and after each caption."""
    return config.flag("caption_prefix") or "", config.flag("caption_suffix") or ""


def _report_unreadable(summary: FolderSummary, where: str, findings: Findings) -> None:
    """Report captions that Start would refuse: links, pipes, devices, files that are too large, and those in an unknown encoding."""
    for name, why in summary.refused.items():
        findings.refuse(DatasetError(refusal_of(name, why)), where)
    for name in summary.undecodable[:MAX_NAMED]:
        findings.refuse(DatasetError(undecodable_message(name)), where)


def _report_regularization(folder: Path, index: FolderIndex, extension: str, findings: Findings) -> None:
    summary = findings.attempt(index.summary, REGULARIZATION)
    if summary is not None and not summary.captions:
        sentence = no_images_message(summary.subfolders) or "Choose a folder with images, or leave it empty."
        findings.refuse(DatasetError(f"There are no regularization images in {folder}. {sentence}"), REGULARIZATION)
    elif summary is not None:
        _report_unreadable(summary, REGULARIZATION, findings)
        for sentence in notes(summary, extension=extension):
            findings.add(Level.WARNING, f"Regularization images: {sentence}", REGULARIZATION)


def _sizes(index: FolderIndex, where: str, findings: Findings) -> tuple[Size, ...]:
    return findings.attempt(index.sizes, where) or ()


def _report_counts(config: TrainConfig, images: int, captioned: int, findings: Findings) -> None:
    missing, what = images - captioned, f"{images} image{'s' * (images > 1)}"
    if not missing:
        findings.add(Level.OK, f"{what}, all with a caption.", IMAGES)
        return
    trigger = ", trained on the trigger word alone" if config.concept_sentence else " and no trigger word that stands for it"
    findings.warn_of_images(f"{what}, {missing} without a caption{trigger}.", "no_caption", missing)


def report_long_captions(config: TrainConfig, images: ImageSet, files: FoundFiles, findings: Findings) -> None:
    """Report captions of which the text encoder reads the first part only."""
    limit = token_limit(files, config.advanced)
    prefix, suffix = _around(config)
    texts = {}
    for name, text in images.captions.items():
        lines = trained_text(text, wildcards=bool(config.flag("enable_wildcard"))).split("\n")
        texts[name] = "\n".join(" ".join(filter(None, (prefix, line, suffix))) for line in lines)
    if sentence := cut_captions_message(too_long(texts, files, limit), limit):
        findings.add(Level.WARNING, sentence, IMAGES)


def report_sample_prompts(config: TrainConfig, findings: Findings) -> None:
    """Report sample prompts that the trainer would refuse; they prevent Start only if samples are drawn."""
    level = Level.ERROR if draws_samples(config) else Level.WARNING
    source = source_of_prompts(config)
    has_own = source.name == "sample_prompts"
    for sentence in check_sample_prompts(config.sample_prompts if has_own else sample_prompts(config), "" if has_own else source.label):
        findings.add(level, sentence, source.name)


def check_formats(trainer: TrainerBackend, images: ImageSet, findings: Findings) -> None:
    """Report images that the trainer would leave out silently."""
    others = images.regularization
    regularization = findings.attempt(ImageFolder(others).names, REGULARIZATION) if others else None
    for names, where in ((list(images.captions), IMAGES), (regularization or [], REGULARIZATION)):
        if skipped := trainer.skipped_images(names):
            which = skipped[0] if len(skipped) == 1 else f"{skipped[0]} and {len(skipped) - 1} more"
            message = f"{which}: {trainer.title}, does not read this format; save as .png, or train without --sd-scripts."
            findings.add(Level.ERROR, message, where)


def check_pixels_of(images: ImageSet, decoded: DecodedImages, findings: Findings, *, may_decode: bool) -> bool:
    """Decode the images completely and report the first damaged ones; return False if decoding is necessary and not allowed."""
    others = images.regularization
    regularization = findings.attempt(ImageFolder(others).names, REGULARIZATION) if others else None
    for folder, names, where in ((images.folder, images.captions, IMAGES), (others, regularization, REGULARIZATION)):
        problems = decoded.problems([folder / name for name in names], may_decode=may_decode) if folder and names else []
        if problems is None:
            return False
        for problem in problems[:MAX_NAMED]:
            findings.refuse(type(problem)(str(problem), field=where))
    return True


def report_small_images(config: TrainConfig, images: ImageSet, findings: Findings) -> None:
    """Report images that are smaller than the training resolution, unless there is a problem with the resolution itself."""
    if any(problem.field == "resolution" for problem in findings.problems):
        return
    small = sum(min(size) < config.resolution for size in images.sizes)
    if small:
        subject = "1 image is" if small == 1 else f"{small} images are"
        findings.add(Level.WARNING, f"{subject} smaller than {config.resolution} pixels on a side and will be enlarged.", IMAGES)


def check_disk(outputs: Path, findings: Findings) -> None:
    """Report the free disk space, and a volume on which two machines are not kept apart."""
    if free := findings.attempt(lambda: check_free_space(outputs)):
        findings.add(Level.OK, f"{free / 10**9:.0f} GB are free on the disk.")
    if OutputsPaths(outputs).own.is_dir() and not keeps_hosts_apart(OutputsPaths(outputs).locks):
        findings.add(Level.WARNING, without_locks(outputs))

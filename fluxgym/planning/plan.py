"""The plan of a training run: everything that Start writes and launches, computed once from settings and images.

The form's preview, the checks before Start, start, resume and the command line use the same TrainingPlan.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fluxgym.app_settings import Settings
from fluxgym.config.defaults import DEFAULTS
from fluxgym.config.settings import TrainConfig, check_advanced
from fluxgym.dataset.caches import DatasetCaches
from fluxgym.dataset.dataset_spec import dataset_toml, expected_steps
from fluxgym.dataset.folder import check_portable
from fluxgym.errors import BadName, ConfigError, FluxGymError, Level, Problem, error_of
from fluxgym.models.catalog import FoundFiles, Model, apply_defaults, get_model
from fluxgym.planning.large_values import report_large_values
from fluxgym.planning.learning import report_little_learning
from fluxgym.planning.mask_checks import MaskFiles, check_masks
from fluxgym.planning.named_checkpoint import check_named_checkpoint, verified_checkpoint
from fluxgym.planning.sample_prompts import sample_prompts
from fluxgym.planning.sample_times import report_sample_times, report_save_times
from fluxgym.planning.start_checks import (
    IMAGES,
    Findings,
    ImageSet,
    TrainedFolders,
    check_disk,
    check_formats,
    check_model,
    check_pixels_of,
    read_images,
    report_long_captions,
    report_sample_prompts,
    report_small_images,
    report_tier,
)
from fluxgym.runs.checkpoints import Checkpoint
from fluxgym.runs.launch_spec import LaunchSpec, TrainerOptions
from fluxgym.runs.paths import OutputsPaths, RunPaths
from fluxgym.runs.state import slug_of
from fluxgym.trainers.base import backend_for, with_command
from fluxgym.trainers.named_code import named_code
from fluxgym.trainers.options import trainer_options
from fluxgym.trainers.trainer_verdicts import TrainerQuestion, TrainerVerdicts, unusual_settings

UNNAMED = "unnamed"  # the name of a plan whose LoRA has no usable name yet


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """One training, ready to start if it has no errors.

    A setting that cannot be used has its default in config and an error in problems. dataset_toml is "", options are empty and steps is
    None where they cannot be computed. problems also has the results of the checks that passed. is_validated_by_trainer is False while
    the trainer has not checked the settings that only it can check, are_images_decoded while images have not been decoded completely.
    """

    config: TrainConfig
    run: RunPaths
    model: Model | None
    files: FoundFiles | None
    images: ImageSet
    dataset_toml: str
    sample_prompts: str
    options: TrainerOptions
    trainer_dir: Path
    resume_from: Path | None
    steps: int | None
    problems: tuple[Problem, ...]
    is_validated_by_trainer: bool
    are_images_decoded: bool

    @property
    def is_checked(self) -> bool:
        """True if the checks that take seconds have been made too."""
        return self.is_validated_by_trainer and self.are_images_decoded

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems that prevent Start."""
        return tuple(problem for problem in self.problems if problem.level is Level.ERROR)

    @property
    def can_start(self) -> bool:
        """True if there is no error."""
        return not self.errors

    def raise_error(self, *kinds: type[FluxGymError]) -> None:
        """Raise the first error, or the first one of these kinds."""
        errors = [error_of(problem) for problem in self.errors]
        for error in errors:
            if isinstance(error, kinds or FluxGymError):
                raise error

    def relocated(self, run: RunPaths) -> "TrainingPlan":
        """Return the same plan for another run folder; nothing is read or checked again."""
        return self._written_for(run, self.resume_from)

    def resuming(self, checkpoint: Path) -> "TrainingPlan":
        """Return the same plan, starting from a checkpoint folder."""
        return self._written_for(self.run, checkpoint)

    def with_named_checkpoint(self) -> "TrainingPlan":
        """Return the same plan, starting from the checkpoint that its settings name, if they name one.

        Raises:
            ConfigError: If that checkpoint is not complete, or belongs to the run that would be replaced.
        """
        named = self.config.resume_from_checkpoint.strip()
        return self.resuming(verified_checkpoint(named, self.run, self.trainer_dir)) if named else self

    def _written_for(self, run: RunPaths, resume_from: Path | None) -> "TrainingPlan":
        options, toml = self.options, self.dataset_toml
        if options and self.files is not None:
            options = trainer_options(self.config, run, self.files, resume=resume_from)
        if toml:
            toml = dataset_toml(self.config, run.dataset, self.images.regularization)
        return replace(self, run=run, resume_from=resume_from, options=options, dataset_toml=toml)

    def launch_spec(self, run_id: str = "", attempt: int = 1) -> LaunchSpec:
        """Return what an attempt launches, with its command and without devices."""
        spec = LaunchSpec(
            run_id=run_id,
            attempt=attempt,
            trainer_dir=str(self.trainer_dir),
            backend=backend_for(self.trainer_dir).name,
            options=self.options,
            resume_from=None if self.resume_from is None else str(self.resume_from),
            max_train_epochs=self.config.max_train_epochs,
            expected_steps=self.steps,
            monitoring=self.config.enable_monitoring,
        )
        return with_command(spec, self.run)


@dataclass(frozen=True, kw_only=True)
class PlanningCaches:
    """Caches that plans share: images and their folders, and the trainer's verdicts on settings that only the trainer can check."""

    dataset: DatasetCaches = field(default_factory=DatasetCaches)
    verdicts: TrainerVerdicts = field(default_factory=TrainerVerdicts)


class Planner:
    """Plans trainings with the app's settings. Its caches are shared by all plans that it makes."""

    def __init__(self, settings: Settings, caches: PlanningCaches | None = None) -> None:
        self.settings = settings
        self._caches = caches or PlanningCaches()

    def plan(
        self, state: Mapping[str, Any], images: Path, *, run: RunPaths | None = None, resume: Checkpoint | None = None
    ) -> TrainingPlan:
        """Plan the training of a state's settings with a folder of images, and check everything, which can take seconds (see `checked`).

        Settings that are missing come from the base model's defaults, except for a resume, whose state is complete. Never raises for user
        input: each error becomes a problem with its field. Image sizes are read once.
        """
        return self.checked(self.plan_unchecked(state, images, run=run, resume=resume))

    def checked(self, planned: TrainingPlan, *, may_wait: bool = True) -> TrainingPlan:
        """Return a plan with the errors of the slow checks; if may_wait is False, only with those whose results are cached.

        The trainer needs seconds for the first answer about some settings, and decoding takes 5 to 20 ms per image of one megapixel. Both
        are done once: for the same settings, and for the same content.
        """
        return self._with_decoded_images(self._with_trainer_check(planned, may_run_trainer=may_wait), may_decode=may_wait)

    def _with_trainer_check(self, planned: TrainingPlan, *, may_run_trainer: bool) -> TrainingPlan:
        if planned.is_validated_by_trainer:
            return planned
        try:
            toml = dataset_toml(planned.config, planned.images.folder, planned.images.regularization)
        except ConfigError:
            return replace(planned, is_validated_by_trainer=True)  # reported already
        steps = planned.steps and planned.steps // planned.config.max_train_epochs
        question = TrainerQuestion(
            options=planned.options,
            chosen=unusual_settings(planned.config),
            toml=toml,
            steps_per_epoch=steps,
            trainer_dir=planned.trainer_dir,
        )
        refused = backend_for(planned.trainer_dir).check_with_trainer(question, self._caches.verdicts, may_run_trainer=may_run_trainer)
        return planned if refused is None else replace(planned, problems=(*planned.problems, *refused), is_validated_by_trainer=True)

    def _with_decoded_images(self, planned: TrainingPlan, *, may_decode: bool) -> TrainingPlan:
        if planned.are_images_decoded:
            return planned
        findings, caches, images = Findings(), self._caches.dataset, planned.images
        are_decoded = check_pixels_of(images, caches.decoded, findings, may_decode=may_decode)
        if are_decoded and not findings.problems:
            are_decoded = check_masks(
                MaskFiles.of(planned.config, images, planned.trainer_dir), caches.masks, findings, may_decode=may_decode
            )
        return replace(planned, problems=(*planned.problems, *findings.problems), are_images_decoded=are_decoded)

    def plan_unchecked(
        self, state: Mapping[str, Any], images: Path, *, run: RunPaths | None = None, resume: Checkpoint | None = None
    ) -> TrainingPlan:
        """Plan as `plan` does, in milliseconds, without running the trainer for settings that only it can check."""
        findings = Findings()
        config = read_config(state, self.settings.models, findings, with_defaults=resume is None)
        are_usable = all(problem.field == "lora_name" for problem in findings.problems)
        run = run or OutputsPaths(self.settings.outputs).run(slug_of(config.lora_name))
        model = findings.attempt(lambda: get_model(config.base_model, self.settings.models), "base_model")
        files = check_model(model, self.settings.models, findings)
        report_tier(config, files, findings)
        report_sample_prompts(config, findings)
        folders = TrainedFolders(images=images, models=self.settings.models, indexes=self._caches.dataset.indexes)
        image_set = read_images(config, folders, findings)
        toml, steps = _dataset_toml_and_steps(config, run, image_set, findings) if are_usable else ("", None)
        _report_settings(config, steps, model, findings)
        report_small_images(config, image_set, findings)
        if files is not None:
            report_long_captions(config, image_set, files, findings)
        if resume is None:
            self._check_new_run(config, run, image_set, findings)
        resume_from = None if resume is None else resume.folder
        options = trainer_options(config, run, files, resume=resume_from) if files and are_usable else {}
        has_valid_flags = self._check_options(options, image_set, findings) if options else False
        planned = TrainingPlan(
            config=config,
            run=run,
            model=model,
            files=files,
            images=image_set,
            dataset_toml=toml,
            sample_prompts=sample_prompts(config),
            options=options,
            trainer_dir=self.settings.sd_scripts,
            resume_from=resume_from,
            steps=steps,
            problems=tuple(findings.problems),
            is_validated_by_trainer=not (has_valid_flags and image_set.count and unusual_settings(config)),
            are_images_decoded=resume is not None or not image_set.is_complete,  # a resume has trained on them
        )
        return replace(planned, problems=(*planned.problems, *_named_code(planned)))

    def _check_new_run(self, config: TrainConfig, run: RunPaths, images: ImageSet, findings: Findings) -> None:
        """Check what only a new run needs: free disk space, portable file names, and the checkpoint that the settings name."""
        check_disk(self.settings.outputs, findings)
        findings.attempt(lambda: check_portable(images.captions), IMAGES)
        if named := config.resume_from_checkpoint.strip():
            findings.attempt(lambda: check_named_checkpoint(named, run, self.settings.sd_scripts), "resume_from_checkpoint")

    def _check_options(self, options: TrainerOptions, images: ImageSet, findings: Findings) -> bool:
        """Check that the trainer has the flags and reads the image formats; return True if it has all flags."""
        backend = backend_for(self.settings.sd_scripts)
        refused = backend.check_flags(options, self.settings.sd_scripts)
        findings.problems += refused
        check_formats(backend, images, findings)
        return not refused


def _dataset_toml_and_steps(config: TrainConfig, run: RunPaths, images: ImageSet, findings: Findings) -> tuple[str, int | None]:
    """Return the text of dataset.toml and the number of steps; "" and None if they cannot be computed."""
    toml = findings.attempt(lambda: dataset_toml(config, run.dataset, images.regularization)) if images.is_complete else None
    steps = findings.attempt(lambda: expected_steps(config, images.sizes, images.regularization_sizes), IMAGES) if toml else None
    return toml or "", steps or None


def _report_settings(config: TrainConfig, steps: int | None, model: Model | None, findings: Findings) -> None:
    """Report settings with which the training is likely to learn nothing, and intervals that it does not reach."""
    report_little_learning(config, findings)
    report_large_values(config, steps, findings)
    report_save_times(config, steps, findings)
    report_sample_times(config, steps, DEFAULTS | (dict(model.defaults) if model else {}), findings)


def plan(
    state: Mapping[str, Any], images: Path, settings: Settings, *, run: RunPaths | None = None, resume: Checkpoint | None = None
) -> TrainingPlan:
    """Plan one training, as `Planner.plan` does."""
    return Planner(settings).plan(state, images, run=run, resume=resume)


def _named_code(planned: TrainingPlan) -> list[Problem]:
    """Return a warning for each piece of code that the settings name; the form shows them above Start."""
    start = replace(planned.launch_spec(), resume_from=None) if planned.options else None
    phrases = () if start is None else named_code(start)
    return [
        Problem(level=Level.WARNING, message=f"This training {phrase}; start it only if you know that it is safe.", field="advanced")
        for phrase in phrases
    ]


def read_config(state: Mapping[str, Any], models: Path, findings: Findings, *, with_defaults: bool = True) -> TrainConfig:
    """Return the config of a state; a setting that cannot be used is reported and replaced by its default."""
    filled = findings.attempt(lambda: apply_defaults(state, models), "base_model") if with_defaults else None
    usable = dict(state) if filled is None else filled
    if isinstance(usable.get("advanced"), Mapping):
        usable["advanced"] = {name: value for name, value in usable["advanced"].items() if _is_usable(name, value, findings)}
    config = _first_usable(usable, findings)
    try:
        slug_of(config.lora_name)
    except BadName as error:
        findings.refuse(error)
        return replace(config, lora_name=UNNAMED)
    return config


def _is_usable(name: str, value: Any, findings: Findings) -> bool:
    try:
        check_advanced(name, value)
    except ConfigError as error:
        findings.refuse(error)
        return False
    return True


def _first_usable(usable: dict[str, Any], findings: Findings) -> TrainConfig:
    """Return the config after removing one setting after another that cannot be used."""
    while True:
        try:
            return TrainConfig.from_state(usable)
        except ConfigError as error:
            findings.refuse(error)
            if error.field != "lora_name" and error.field not in usable:
                raise  # it cannot be removed
            usable = {name: value for name, value in usable.items() if name != error.field}
            usable.setdefault("lora_name", UNNAMED)

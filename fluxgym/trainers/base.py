"""The interface of trainer backends, and the list of backends. No other module depends on which one a run uses."""

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from fluxgym.errors import NothingToResume, Problem
from fluxgym.runs.checkpoints import Checkpoint, list_complete, newest_verified
from fluxgym.runs.launch_spec import LaunchSpec, TrainerOptions, read_launch_spec
from fluxgym.runs.paths import RunPaths
from fluxgym.trainers.builtin import BuiltinBackend
from fluxgym.trainers.kohya.backend import KohyaBackend
from fluxgym.trainers.trainer_verdicts import TrainerQuestion, TrainerVerdicts


class ProgressFollower(Protocol):
    """Writes progress.jsonl from a trainer's output, for a trainer that does not write the file itself."""

    def poll(self) -> None:
        """Read new output and append its progress; called a few times per second."""

    def close(self) -> None:
        """Read the rest, after the trainer has ended."""


class TrainerBackend(Protocol):
    """One kind of trainer. title completes "the trainer that wrote them: …".

    resumes_exactly: a training that resumes from a checkpoint ends bit for bit like one that was never interrupted. pickle_flags are the
    options whose files are unpickled unless they are .safetensors, which can execute code; has_pickled_checkpoints is True if checkpoints are unpickled too.
    checks_lease: the trainer itself ends when another start has taken its folder. trains_all_lines is True if it trains all lines of a
    caption, not only the first one.
    """

    name: str
    title: str
    resumes_exactly: bool
    checks_lease: bool
    trains_all_lines: bool
    pickle_flags: tuple[str, ...]
    has_pickled_checkpoints: bool

    def matches(self, trainer_dir: Path) -> bool:
        """Return True if the trainer in a folder is of this kind. Only reads files."""

    def check_flags(self, options: TrainerOptions, trainer_dir: Path) -> tuple[Problem, ...]:
        """Return the reasons why the trainer cannot run with these options."""

    def check_with_trainer(
        self, question: TrainerQuestion, verdicts: TrainerVerdicts, *, may_run_trainer: bool
    ) -> tuple[Problem, ...] | None:
        """Return what the trainer's own checks refuse of a training; with may_run_trainer, this can take seconds. verdicts are those known so far.

        Without may_run_trainer, nothing is started: None means that the verdict is not known.
        """

    def skipped_images(self, names: Sequence[str]) -> list[str]:
        """Return the names of images that the trainer leaves out silently, because it does not read such files."""

    def command(self, spec: LaunchSpec, run: RunPaths) -> list[str]:
        """Return the command of one attempt, from its options and its checkpoint; spec.argv is not read."""

    def read_checkpoint(self, folder: Path, *, verify: bool) -> Checkpoint | None:
        """Return a checkpoint of this kind if it is complete; with verify, checksums are computed too."""

    def follow_progress(self, run: RunPaths, spec: LaunchSpec) -> ProgressFollower | None:
        """Return what writes progress.jsonl during an attempt, None if the trainer writes it."""

    def resume_notice(self) -> str:
        """Return a notice for the user about a resume with this trainer, "" if it is exact."""


BACKENDS: tuple[TrainerBackend, ...] = (KohyaBackend(), BuiltinBackend())  # the built-in trainer matches every folder, so it is last


def backend_for(trainer_dir: Path) -> TrainerBackend:
    """Return the backend of the trainer in a folder."""
    return next(backend for backend in BACKENDS if backend.matches(trainer_dir))


def backend_named(name: str) -> TrainerBackend:
    """Return a backend by name, the built-in one for a name that is unknown, such as one of a later version."""
    return next((backend for backend in BACKENDS if backend.name == name), BACKENDS[-1])


def backend_of(run: RunPaths) -> TrainerBackend:
    """Return the backend of a run's latest attempt, the built-in one if it was never launched."""
    return backend_of_launch(read_launch_spec(run))


def backend_of_launch(spec: LaunchSpec | None) -> TrainerBackend:
    """Return the backend of an attempt, the built-in one for None."""
    return backend_named(LaunchSpec.backend if spec is None else spec.backend)


def with_command(spec: LaunchSpec, run: RunPaths) -> LaunchSpec:
    """Return a spec with the argv that its backend makes for this attempt."""
    return replace(spec, argv=tuple(backend_named(spec.backend).command(spec, run)))


def choose_checkpoint(run: RunPaths, backend: TrainerBackend, name: str | None = None) -> Checkpoint:
    """Return a backend's named checkpoint, or its complete one with the most steps, after computing its checksums.

    Raises:
        NothingToResume: If there is none; the message names the checkpoints that are complete.
    """
    if name:
        return _named_checkpoint(run, backend, name)
    newest = newest_verified(run, backend)
    if newest is not None:
        return newest
    other = next((other for other in BACKENDS if other.name != backend.name and list_complete(run, other)), None)
    if other is not None:
        raise NothingToResume(f"{run.slug} can be resumed only with the trainer that wrote its checkpoints: {other.title}.")
    raise NothingToResume(
        f"{run.slug} has no complete checkpoint to resume from. “Edit as new training” in the page fills the form with its settings; in the "
        f"terminal, start it again with start --if-exists new --state {shlex.quote(str(run.ui_state))} --images "
        f"{shlex.quote(str(run.dataset))}."
    )


def _named_checkpoint(run: RunPaths, backend: TrainerBackend, name: str) -> Checkpoint:
    checkpoint = backend.read_checkpoint(run.checkpoint(name), verify=True)
    if checkpoint is None:
        complete = ", ".join(each.name for each in list_complete(run, backend)) or "none"
        raise NothingToResume(f"There is no complete checkpoint “{name[:80]}” in {run.slug}; complete ones: {complete}.")
    return checkpoint

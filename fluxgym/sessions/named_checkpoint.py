"""The checkpoint that a training's settings name to start from: which folder it can be, and whether it can be used."""

import os
from collections.abc import Iterator
from pathlib import Path

from fluxgym.contract.files import STATE_FOLDER
from fluxgym.errors import ConfigError
from fluxgym.planning.plan import TrainingPlan
from fluxgym.runs.paths import SHORT_FORM, RunPaths
from fluxgym.trainers.base import backend_for


def with_named_checkpoint(planned: TrainingPlan, outputs: Path) -> TrainingPlan:
    """Return the plan starting from the checkpoint that its settings name; raises ConfigError if that is not a complete one."""
    named, run = planned.config.resume_from_checkpoint.strip(), planned.run
    if not named:
        return planned
    folder = next((folder for folder in _checkpoint_folders(named, run, outputs) if folder.is_dir()), None)
    if folder is None or backend_for(planned.trainer_dir).read_checkpoint(folder, verify=True) is None:
        raise ConfigError(
            f"“{named[:80]}” is not a complete checkpoint; name a folder that ends in -state, or leave it empty.",
            field="resume_from_checkpoint",
        )
    if run.folder.resolve() in folder.resolve().parents:
        raise ConfigError(
            f"“{named[:80]}” belongs to the run that would be replaced; resume that run, or start a new version.",
            field="resume_from_checkpoint",
        )
    return planned.resuming(folder.resolve())


def _checkpoint_folders(named: str, run: RunPaths, outputs: Path) -> Iterator[Path]:
    """Yield where a named checkpoint can be: at that path, in the run whose last checkpoint it is, in one whose epoch or step it is, here."""
    yield Path(os.path.expanduser(named))  # noqa: PTH111 (unlike Path.expanduser it leaves an unknown user's home unchanged)
    yield outputs / named
    name = Path(named).name
    yield outputs / name.removesuffix("-state") / name
    yield RunPaths(outputs / STATE_FOLDER.sub("", name)).checkpoint(name)
    if (short := SHORT_FORM.fullmatch(name)) is not None:
        yield RunPaths(outputs / short["slug"]).checkpoint(name)
    yield run.checkpoint(name)

"""Start from the checkpoint that a training's settings name."""

from pathlib import Path

from fluxgym.errors import ConfigError
from fluxgym.planning.named_checkpoint import FIELD, find_named_checkpoint, not_complete
from fluxgym.planning.plan import TrainingPlan
from fluxgym.trainers.base import backend_for


def with_named_checkpoint(planned: TrainingPlan, outputs: Path) -> TrainingPlan:
    """Return the plan starting from the checkpoint that its settings name; raises ConfigError if that is not a complete one."""
    named, run = planned.config.resume_from_checkpoint.strip(), planned.run
    if not named:
        return planned
    folder = find_named_checkpoint(named, run, outputs)
    if folder is None or backend_for(planned.trainer_dir).read_checkpoint(folder, verify=True) is None:
        raise not_complete(named)
    if run.folder.resolve() in folder.resolve().parents:
        raise ConfigError(
            f"“{named[:80]}” belongs to the run that would be replaced; resume that run, or start a new version.", field=FIELD
        )
    return planned.resuming(folder.resolve())

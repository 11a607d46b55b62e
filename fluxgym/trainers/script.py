"""The training script of a trainer's folder: is it there, and which command runs it with options."""

from pathlib import Path

from fluxgym.errors import Level, Problem
from fluxgym.runs.launch_spec import TrainerOptions, to_words

SCRIPT = "flux_train_network.py"


def missing_script(trainer_dir: Path) -> tuple[Problem, ...]:
    """Return the problem that a folder has no training script, nothing if it has one."""
    if (trainer_dir / SCRIPT).is_file():
        return ()
    message = f"The trainer {trainer_dir / SCRIPT} is missing. Set --sd-scripts to a folder that contains {SCRIPT}."
    return (Problem(level=Level.ERROR, message=message),)


def script_command(python: str, trainer_dir: Path, options: TrainerOptions) -> list[str]:
    """Return the command that runs the training script."""
    return [python, "-u", str(trainer_dir / SCRIPT), *to_words(options)]

"""The checkpoint that the setting "Resume from checkpoint" names: where it can be, and whether it is complete."""

import os
from collections.abc import Iterator
from pathlib import Path

from fluxgym.contract.files import STATE_FOLDER
from fluxgym.errors import ConfigError
from fluxgym.runs.paths import SHORT_FORM, RunPaths
from fluxgym.trainers.base import backend_for

FIELD = "resume_from_checkpoint"


def find_named_checkpoint(named: str, run: RunPaths, outputs: Path) -> Path | None:
    """Return the folder of a named checkpoint, None if there is no such folder."""
    return next((folder for folder in _folders(named, run, outputs) if os.path.isdir(folder)), None)  # noqa: PTH112 (takes every name)


def check_named_checkpoint(named: str, run: RunPaths, trainer_dir: Path) -> None:
    """Raise ConfigError if a name is not that of a complete checkpoint; checksums are not computed, as Start does."""
    folder = find_named_checkpoint(named, run, run.folder.parent)
    if folder is None or backend_for(trainer_dir).read_checkpoint(folder, verify=False) is None:
        raise not_complete(named)


def not_complete(named: str) -> ConfigError:
    """Return the refusal of a name that is not that of a complete checkpoint."""
    sentence = f"“{named[:80]}” is not a complete checkpoint; name a folder that ends in -state, or leave it empty."
    return ConfigError(sentence, field=FIELD)


def _folders(named: str, run: RunPaths, outputs: Path) -> Iterator[Path]:
    """Yield where a named checkpoint can be: at that path, in the run whose last checkpoint it is, in one whose epoch or step it is, here."""
    yield Path(os.path.expanduser(named))  # noqa: PTH111 (unlike Path.expanduser it leaves an unknown user's home unchanged)
    yield outputs / named
    name = Path(named).name
    yield outputs / name.removesuffix("-state") / name
    yield RunPaths(outputs / STATE_FOLDER.sub("", name)).checkpoint(name)
    if (short := SHORT_FORM.fullmatch(name)) is not None:
        yield RunPaths(outputs / short["slug"]).checkpoint(name)
    yield run.checkpoint(name)

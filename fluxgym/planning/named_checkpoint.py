"""The checkpoint that the setting "Resume from checkpoint" names: where it can be, and whether it is complete."""

import os
from collections.abc import Iterator
from pathlib import Path

from fluxgym.contract.files import STATE_ENDING, parse_short_state_name, parse_state_name
from fluxgym.errors import ConfigError
from fluxgym.runs.paths import RunPaths
from fluxgym.trainers.base import backend_for

FIELD = "resume_from_checkpoint"


def check_named_checkpoint(named: str, run: RunPaths, trainer_dir: Path) -> None:
    """Raise ConfigError if there is no complete checkpoint of this name. Only Start computes its checksums: `verified_checkpoint`."""
    _complete_checkpoint(named, run, trainer_dir, verify=False)


def verified_checkpoint(named: str, run: RunPaths, trainer_dir: Path) -> Path:
    """Return the folder of the checkpoint that a new run starts from, after computing its checksums.

    Raises:
        ConfigError: If it is not complete, or belongs to the run that the new one would replace.
    """
    folder = _complete_checkpoint(named, run, trainer_dir, verify=True).resolve()
    if run.folder.resolve() in folder.parents:
        raise ConfigError(
            f"“{named[:80]}” belongs to the run that would be replaced; resume that run, or start a new version.", field=FIELD
        )
    return folder


def _complete_checkpoint(named: str, run: RunPaths, trainer_dir: Path, *, verify: bool) -> Path:
    folders = _folders(named, run, run.folder.parent)
    folder = next((folder for folder in folders if os.path.isdir(folder)), None)  # noqa: PTH112 (takes every name)
    if folder is None or backend_for(trainer_dir).read_checkpoint(folder, verify=verify) is None:
        sentence = f"“{named[:80]}” is not a complete checkpoint; name a folder that ends in -state, or leave it empty."
        raise ConfigError(sentence, field=FIELD)
    return folder


def _folders(named: str, run: RunPaths, outputs: Path) -> Iterator[Path]:
    """Yield the folders that a name can refer to: the path itself, a checkpoint of any run in outputs, a checkpoint of this run."""
    yield Path(os.path.expanduser(named))  # noqa: PTH111 (unlike Path.expanduser it leaves an unknown user's home unchanged)
    yield outputs / named
    name = Path(named).name
    yield outputs / name.removesuffix(STATE_ENDING) / name
    for saved in (parse_state_name(name), parse_short_state_name(name)):
        if saved is not None:
            yield RunPaths(outputs / saved.output_name).checkpoint(name)
    yield run.checkpoint(name)

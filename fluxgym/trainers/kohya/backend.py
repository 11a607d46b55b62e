"""A trainer's folder: is it a checkout of kohya's sd-scripts, which options does it know, and which Python runs it. Looks at files only."""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from fluxgym.errors import LaunchError
from fluxgym.runs.checkpoints import read_checkpoint

KOHYAS = (Path("library", "train_util.py"), Path("train_network.py"))
OPTION = re.compile(r"""["'](--[A-Za-z0-9_]+)["']""")
PYTHONS = (Path(".venv", "bin", "python"), Path("venv", "bin", "python"))


def is_kohya_checkout(sd_scripts: Path) -> bool:
    """Return True if a trainer's folder is a checkout of kohya's, which writes no progress.jsonl and saves states of its own kind."""
    return any((sd_scripts / name).is_file() for name in KOHYAS)


def python_of(sd_scripts: Path) -> str:
    """Return the Python that runs a trainer: a foreign checkout's own virtual environment if it has one, else this one."""
    own = [sd_scripts / name for name in PYTHONS] if is_kohya_checkout(sd_scripts) else []
    return next((str(path) for path in own if path.is_file()), sys.executable)


def known_options(sd_scripts: Path) -> frozenset[str]:
    """Return every option that is named in a checkout's sources."""
    sources = [*sd_scripts.glob("*.py"), *(sd_scripts / "library").glob("*.py")]
    return frozenset(name for path in sources for name in OPTION.findall(path.read_text(encoding="utf-8", errors="replace")))


def refuse_unknown(sd_scripts: Path, options: Sequence[str]) -> None:
    """Raise LaunchError naming the options that a foreign checkout does not know; our own trainer's parser is held by tests."""
    if not is_kohya_checkout(sd_scripts):
        return
    try:
        known = known_options(sd_scripts)
    except OSError as error:
        raise LaunchError(f"The trainer in {sd_scripts} cannot be read: {error.strerror}.") from None
    unknown = [name for name in options if name not in known]
    if unknown:
        raise LaunchError(
            f"The trainer in {sd_scripts} does not know {', '.join(unknown)}; leave that out, or train without --sd-scripts.",
            field="advanced",
        )


def resume_options(sd_scripts: Path, checkpoint: Path) -> dict[str, str]:
    """Return what else a foreign trainer needs to go on from a checkpoint in the right epoch: it miscounts at the second resume."""
    found = read_checkpoint(checkpoint, exact=False)
    if found is None or not is_kohya_checkout(sd_scripts) or "--initial_epoch" not in known_options(sd_scripts):
        return {}
    return {"--initial_epoch": str(found.epoch + 1)}

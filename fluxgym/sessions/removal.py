"""Removing the files of deleted runs: `python -m fluxgym.sessions.removal OUTPUTS`, a process of its own, so that nobody waits for it.

A deleted run has been moved out of the list before. Should this end too early, the next delete removes what was left.
"""

import shutil
import sys
from pathlib import Path

from fluxgym.launch.spawn import detach
from fluxgym.run.paths import OutputsPaths


def remove_in_background(outputs: OutputsPaths) -> None:
    """Start the removal and return; raises OSError when that is not possible."""
    detach([sys.executable, "-m", "fluxgym.sessions.removal", str(outputs.root.absolute())])


def remove_deleted(outputs: OutputsPaths) -> None:
    """Remove what was deleted, as far as that is allowed, but of a link to a folder elsewhere the link alone."""
    for folder in outputs.deleted.iterdir():
        if folder.is_symlink():
            folder.unlink(missing_ok=True)
        else:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    remove_deleted(OutputsPaths(Path(sys.argv[1])))

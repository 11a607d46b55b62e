"""Processes of a run that no record names any more, because somebody removed its folder while they lived. Looks only; signals nobody."""

import os
from pathlib import Path

from fluxgym.run.identity import PROC
from fluxgym.run.paths import RunPaths

PROGRAMS = ("fluxgym.launch.supervisor", "flux_train_network.py")


def find_stray(run: RunPaths) -> int | None:
    """Return the PID of a supervisor or trainer that was started for this very folder, None when there is none to be seen."""
    folder = os.fsencode(run.folder)
    for entry in os.scandir(PROC):
        if entry.name.isdigit() and _is_of(Path(entry.path), folder):
            return int(entry.name)
    return None


def _is_of(process: Path, folder: bytes) -> bool:
    try:
        words = (process / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return folder in words and any(Path(os.fsdecode(word)).name in PROGRAMS for word in words)

"""Processes of a run that no record names any more, because somebody removed its folder while they lived. Looks only; signals nobody."""

import os
from pathlib import Path

from fluxgym.run.identity import PROC
from fluxgym.run.paths import RunPaths

PROGRAMS = ("fluxgym.launch.supervisor", "flux_train_network.py")


def find_stray(run: RunPaths) -> int | None:
    """Return the PID of a supervisor or trainer that was started for this very folder, None when there is none to be seen."""
    return find_strays([run]).get(run)


def find_strays(runs: list[RunPaths]) -> dict[RunPaths, int]:
    """Return such a PID of each run that has one, of one look at all processes."""
    folders = {os.fsencode(run.folder): run for run in runs}
    found: dict[RunPaths, int] = {}
    for entry in os.scandir(PROC):
        if entry.name.isdigit():
            found |= {folders[word]: int(entry.name) for word in _words_of_ours(Path(entry.path)) if word in folders}
    return found


def _words_of_ours(process: Path) -> list[bytes]:
    """Return a supervisor's or trainer's command line, nothing of any other process."""
    try:
        words = (process / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return []
    return words if any(Path(os.fsdecode(word)).name in PROGRAMS for word in words) else []
